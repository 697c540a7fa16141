# The image of the operator and of the workers: two static programs, a CA bundle and an unprivileged user, no shell.
# hack/images/build.sh makes the same image without a container engine.
#
#   docker build --build-arg VERSION=v0.1.0 -t syncline:v0.1.0 .
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd cmd
COPY internal internal
# Time zones of schedules are compiled in, because the image has no zoneinfo folder.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -tags timetzdata -ldflags '-s -w' -o /out/ ./cmd/manager ./cmd/worker
RUN mkdir -p /rootfs/etc/ssl/certs /rootfs/home/nonroot /rootfs/tmp && chmod 1777 /rootfs/tmp \
    && cp /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/ \
    && printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' > /rootfs/etc/passwd \
    && printf 'root:x:0:\nnonroot:x:65532:\n' > /rootfs/etc/group

FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.licenses=Apache-2.0
COPY --from=build /rootfs/ /
COPY --from=build /out/manager /out/worker /
ENV PATH=/ SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
ENTRYPOINT ["/worker"]
