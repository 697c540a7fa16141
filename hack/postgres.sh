#!/usr/bin/env bash
# Finds PostgreSQL's server programs and psql, or installs Debian's package, and prints the folder of the server programs.
#   hack/postgres.sh           find, else install
#   hack/postgres.sh --find    only find
# Order: $PG_BINDIR, PATH, the newest of /usr/lib/postgresql/*/bin, Debian's package (as root). Messages go to stderr.
set -euo pipefail

oldest=14 # the oldest server that Syncline supports

fail() {
  printf 'hack/postgres.sh: %s\n' "$@" >&2
  exit 1
}

# has_server DIR: initdb and postgres are there and run.
has_server() {
  [ -x "$1/initdb" ] && "$1/postgres" --version >/dev/null 2>&1
}

major() {
  "$1/postgres" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/'
}

find_server() {
  local dir
  if [ -n "${PG_BINDIR:-}" ]; then
    has_server "$PG_BINDIR" || fail "PG_BINDIR is $PG_BINDIR, which has no initdb and postgres that run" \
      "set it to the folder of a PostgreSQL $oldest or newer, or unset it to search"
    echo "$PG_BINDIR"
    return
  fi
  if dir=$(command -v initdb) && dir=$(dirname "$(readlink -f "$dir")") && has_server "$dir"; then
    echo "$dir"
    return
  fi
  for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5 -rn); do
    if has_server "$dir"; then
      echo "$dir"
      return
    fi
  done
  return 1
}

# install_server: Debian's package, without the server that it would otherwise make and start on port 5432.
install_server() {
  command -v apt-get >/dev/null || fail "no PostgreSQL found in PATH or /usr/lib/postgresql, and no apt-get to install one" \
    "install PostgreSQL $oldest or newer and set PG_BINDIR to the folder that holds initdb and postgres"
  [ "$(id -u)" = 0 ] || fail "no PostgreSQL found in PATH or /usr/lib/postgresql, and only root can install it" \
    "run as root: apt-get install postgresql, or set PG_BINDIR to the folder that holds initdb and postgres"
  echo "installing Debian's PostgreSQL (once; about 10 seconds)" >&2
  local conf=/etc/postgresql-common/createcluster.conf
  if [ ! -e "$conf" ]; then
    mkdir -p "${conf%/*}"
    echo 'create_main_cluster = false' >"$conf"
  fi
  if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    -o Dpkg::Options::=--force-confold postgresql postgresql-client; } >&2; then
    fail "apt-get could not install postgresql (see above)" \
      "install PostgreSQL $oldest or newer by other means and set PG_BINDIR to the folder that holds initdb and postgres"
  fi
}

if ! dir=$(find_server); then
  [ -z "${PG_BINDIR:-}" ] || exit 1 # find_server has said why
  [ "${1:-}" != --find ] || fail "no PostgreSQL found in PATH or /usr/lib/postgresql" \
    "run hack/postgres.sh as root to install Debian's, or set PG_BINDIR to the folder that holds initdb and postgres"
  install_server
  dir=$(find_server) || fail "Debian's package was installed, but initdb is not in /usr/lib/postgresql/*/bin" \
    "set PG_BINDIR to the folder that holds initdb and postgres"
fi
[ "$(major "$dir")" -ge "$oldest" ] || fail "$dir holds PostgreSQL $(major "$dir"), Syncline needs $oldest or newer" \
  "set PG_BINDIR to the folder of a newer one"
[ -x "$dir/psql" ] || command -v psql >/dev/null || fail "PostgreSQL is in $dir, but there is no psql in it or in PATH" \
  "install PostgreSQL's client programs (Debian: apt-get install postgresql-client)"
echo "$dir"
