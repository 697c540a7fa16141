#!/usr/bin/env bash
# Builds the image archives that the throw-away cluster imports, into FOLDER:
#   syncline.tar   localhost/syncline:dev, both programs of this project, as the Dockerfile builds it
#   custom.tar     localhost/custom-worker:dev, the sample of a worker of one's own (config/samples/custom-worker)
#   endpoint.tar   localhost/endpoint:dev, the sample of an HTTP endpoint (config/samples/endpoint)
#   pause.tar      localhost/pause:1, the first process of every pod
#   hack/images/build.sh FOLDER
# Needs Go only. Time zones are compiled in (timetzdata), because the image has no zoneinfo folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${1:?usage: hack/images/build.sh FOLDER}
mkdir -p "$out/bin"
out=$(cd "$out" && pwd)

# The CA bundle of HTTPS sources: this machine's. Debian, then Fedora, then SUSE, then Alpine.
for ca in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
  if [ -s "$ca" ]; then break; fi
done
if [ ! -s "$ca" ]; then
  printf 'hack/images/build.sh: %s\n' "no CA bundle found on this machine" \
    "install it (Debian: apt-get install ca-certificates)" >&2
  exit 1
fi

export CGO_ENABLED=0
# The programs tell the commit they were built from, unless git refuses to read the folder: root in another user's clone.
vcs=auto
git rev-parse HEAD >/dev/null 2>&1 || vcs=false
go build -trimpath -buildvcs=$vcs -tags timetzdata -ldflags '-s -w' -o "$out/bin/" ./cmd/manager ./cmd/worker
go build -trimpath -buildvcs=$vcs -tags timetzdata -ldflags '-s -w' -o "$out/bin/" \
  ./config/samples/custom-worker ./config/samples/endpoint
go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$out/bin/" ./hack/cluster/pause ./hack/images/mkimage

"$out/bin/mkimage" -ref localhost/syncline:dev -out "$out/syncline.tar" -ca "$ca" -entrypoint /worker \
  "/manager=$out/bin/manager" "/worker=$out/bin/worker"
"$out/bin/mkimage" -ref localhost/custom-worker:dev -out "$out/custom.tar" -ca "$ca" -entrypoint /worker "/worker=$out/bin/custom-worker"
"$out/bin/mkimage" -ref localhost/endpoint:dev -out "$out/endpoint.tar" -ca "$ca" "/endpoint=$out/bin/endpoint"
"$out/bin/mkimage" -ref localhost/pause:1 -out "$out/pause.tar" "/pause=$out/bin/pause"
