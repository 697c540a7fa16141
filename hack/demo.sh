#!/usr/bin/env bash
# The main job on a throw-away real cluster, in plain words: see hack/demo. KEEP=1 leaves it up afterwards.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! command -v go >/dev/null; then
  echo "hack/demo.sh: Go is missing; install Go $(sed -n 's/^go //p' go.mod) or newer (https://go.dev/doc/install)" >&2
  exit 1
fi
cache=${SYNCLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/syncline}
mkdir -p "$cache/bin"
# Built and replaced by exec, so that a signal reaches the program itself.
CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$cache/bin/demo" ./hack/demo
exec "$cache/bin/demo" -root "$PWD" -cache "$cache" "$@"
