#!/usr/bin/env bash
# Builds the test binaries of the tools module once, into a cache folder, and prints that folder.
#   hack/tools.sh test   etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, kwok
#   hack/tools.sh e2e    etcd to kubectl, and kubelet, kube-proxy, containerd, runc, CNI, CoreDNS, helm
# The folder is named after the module's checksums, this script and the Go version: another version is another folder.
# Progress goes to stderr, so that the folder can be read from stdout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/tools"

set_name=${1:?usage: hack/tools.sh test|e2e}
key=$( (cat go.sum go.mod ../tools.sh; go version) | sha256sum | cut -c1-12)
cache=${SYNCLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/syncline}
bin=$cache/tools/$key
mkdir -p "$bin"

# Without a version stamp the API server refuses to start.
kubernetes=$(sed -n 's/^\(require \|\t\)k8s.io\/kubernetes \(v[0-9.]*\).*/\2/p' go.mod)
[ -n "$kubernetes" ] || { echo "hack/tools.sh: go.mod names no version of k8s.io/kubernetes" >&2; exit 1; }
minor=${kubernetes#v1.}
minor=${minor%%.*}
version=k8s.io/component-base/version
ldflags="-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=$minor"

k=k8s.io/kubernetes/cmd
c=github.com/containerd/containerd/v2/cmd
tags=seccomp,no_btrfs # runc and containerd's; the same for both sets, so that nothing is linked twice
packages=(go.etcd.io/etcd/server/v3 $k/kube-apiserver $k/kube-controller-manager $k/kube-scheduler $k/kubectl)
cgo_packages=()
case $set_name in
test) packages+=(sigs.k8s.io/kwok/cmd/kwok) ;;
e2e)
  packages+=($k/kubelet $k/kube-proxy $c/containerd $c/containerd-shim-runc-v2 $c/ctr
    github.com/containernetworking/plugins/plugins/main/ptp
    github.com/containernetworking/plugins/plugins/ipam/host-local ./coredns helm.sh/helm/v4/cmd/helm)
  cgo_packages=(github.com/opencontainers/runc) # libseccomp
  ;;
*) echo "hack/tools.sh: unknown set '$set_name', want test or e2e" >&2; exit 2 ;;
esac

# Without cgo and with -trimpath, as the project's own image is built: the same versions of the same libraries, compiled
# the same way, are compiled once for both. One command for all: while one program links, the next ones compile.
build() {
  CGO_ENABLED=0 GOBIN=$bin go install -trimpath -buildvcs=false -tags "$tags" -ldflags "$ldflags" "${packages[@]}"
  [ ${#cgo_packages[@]} = 0 ] ||
    CGO_ENABLED=1 GOBIN=$bin go install -trimpath -buildvcs=false -tags "$tags" -ldflags "$ldflags" "${cgo_packages[@]}"
}

stamp=$bin/.built-$set_name
if [ ! -f "$stamp" ]; then
  echo "building $((${#packages[@]} + ${#cgo_packages[@]})) cluster binaries into $bin (once; the longest step without a build cache)" >&2
  set -m # a process group of its own, so that an interrupt ends the compilers too
  build >&2 &
  job=$!
  set +m
  trap 'kill -- "-$job" 2>/dev/null || true' EXIT
  while kill -0 "$job" 2>/dev/null; do
    sleep 1
    if [ $((SECONDS % 15)) = 0 ]; then echo "  $SECONDS s: $(find "$bin" -type f -perm -u+x | wc -l) programs are there" >&2; fi
  done
  wait "$job"
  trap - EXIT
  ln -sf server "$bin/etcd"
  touch "$stamp"
  echo "cluster binaries built in $SECONDS s" >&2
fi
echo "$bin"
