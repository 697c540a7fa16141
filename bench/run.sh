#!/usr/bin/env bash
# Measures the queue beside other queues on a PostgreSQL that it starts itself: minutes. See docs/benchmarks.md.
#   bench/run.sh [flags] [case ...]
# Flags are those of `go run . -h`. The peers that are JavaScript come from the npm registry once, by the lockfile.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SYNCLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/syncline}
command -v npm >/dev/null || {
  echo "bench/run.sh: npm is missing, and graphile-worker and pg-boss need it: install Node.js (Debian: apt-get install nodejs npm)" >&2
  exit 1
}
peers=$cache/bench/peers-$(sha256sum "$here/peers/package-lock.json" | cut -c1-12)
if [ ! -e "$peers/installed" ]; then
  echo "installing the JavaScript peers into $peers (once; about a minute)" >&2
  mkdir -p "$peers"
  cp "$here"/peers/package*.json "$peers"
  (cd "$peers" && npm ci --no-fund --no-audit) >&2
  touch "$peers/installed"
fi
cp "$here"/peers/*.mjs "$peers"
cd "$here"
go build -o "$cache/bench/bench" .
exec "$cache/bench/bench" -peers "$peers" "$@"
