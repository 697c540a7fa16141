#!/usr/bin/env bash
# Builds PocketBase, the demo's third-party source, once into a cache folder, and prints the program's path.
# The folder is named after the module's checksums and the Go version. Progress goes to stderr.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

key=$( (cat go.sum go.mod; go version) | sha256sum | cut -c1-12)
cache=${SYNCLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/syncline}
bin=$cache/pocketbase/$key

if [ ! -x "$bin/pocketbase" ]; then
  version=$(sed -n 's/^require github.com\/pocketbase\/pocketbase //p' go.mod)
  echo "building PocketBase $version into $bin (once; about a minute on 2 cores without a build cache)" >&2
  start=$SECONDS
  mkdir -p "$bin"
  CGO_ENABLED=0 GOBIN=$bin go install -trimpath -buildvcs=false -ldflags '-s -w' github.com/pocketbase/pocketbase/examples/base >&2
  mv "$bin/base" "$bin/pocketbase"
  echo "PocketBase built in $((SECONDS - start)) s" >&2
fi
echo "$bin/pocketbase"
