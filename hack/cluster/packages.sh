#!/usr/bin/env bash
# Finds the programs of the operating system that building and running the throw-away node takes, and installs Debian's
# packages for those that are missing. Prints nothing when all are there; messages go to stderr.
set -euo pipefail

fail() {
  printf 'hack/cluster/packages.sh: %s\n' "$@" >&2
  exit 1
}

declare -A package=(
  [unshare]=util-linux [nsenter]=util-linux [setpriv]=util-linux [ip]=iproute2 [nft]=nftables [openssl]=openssl
  [sysctl]=procps [pgrep]=procps [gcc]=gcc [pkg-config]=pkg-config
)
missing=()
for program in "${!package[@]}"; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
[ -s /etc/ssl/certs/ca-certificates.crt ] || [ -s /etc/pki/tls/certs/ca-bundle.crt ] || [ -s /etc/ssl/ca-bundle.pem ] ||
  [ -s /etc/ssl/cert.pem ] || missing+=(ca-certificates)
# runc is built with seccomp and etcd's neighbours with cgo: headers, which only a package's files tell of.
if command -v dpkg >/dev/null; then
  for p in libseccomp-dev libc6-dev; do
    dpkg -s "$p" >/dev/null 2>&1 || missing+=("$p")
  done
fi
[ ${#missing[@]} -gt 0 ] || exit 0

mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
command -v apt-get >/dev/null || fail "missing: ${missing[*]} (Debian's names)" "install them with this system's package manager"
[ "$(id -u)" = 0 ] || fail "missing: ${missing[*]}" "run as root: apt-get install ${missing[*]}"
echo "installing Debian packages: ${missing[*]}" >&2
{ apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; } >&2 ||
  fail "apt-get could not install ${missing[*]} (see above)" "install them by other means"
