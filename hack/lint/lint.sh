#!/usr/bin/env bash
# Runs golangci-lint with the linter for Kubernetes APIs built in. The binary comes from this folder's own module and is
# built once into the cache (about two minutes on 2 cores).
#   hack/lint/lint.sh          every package
#   hack/lint/lint.sh ARGS     golangci-lint run ARGS
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SYNCLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/syncline}
cd "$here"
key=$( (cat go.mod go.sum; go version) | sha256sum | cut -c1-12)
bin=$cache/lint/$key
if [ ! -x "$bin/golangci-lint" ]; then
  echo "building golangci-lint into $bin (once; minutes)" >&2
  mkdir -p "$bin"
  go build -ldflags '-s -w' -o "$bin/golangci-lint.new" sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter
  mv "$bin/golangci-lint.new" "$bin/golangci-lint"
fi
cd "$here/../.."
"$bin/golangci-lint" config verify
"$bin/golangci-lint" run --allow-serial-runners "$@"
