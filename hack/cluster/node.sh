#!/usr/bin/env bash
# Starts a throw-away Kubernetes cluster with one real node: etcd, API server, controller manager, scheduler, kubelet,
# containerd, kube-proxy and CoreDNS, all inside mount, network and PID namespaces of their own.
#
#   BIN=$(hack/tools.sh e2e) IMAGES=FOLDER hack/cluster/node.sh STATE [COMMAND...]
#
# With COMMAND, runs it inside once the node is Ready and ends with its exit status. Without, stays until it is killed.
# STATE is a folder for everything the cluster keeps: kubeconfig, ready (made when the node is), log/, pids (as seen
# inside), init.pid (process 1 of the namespaces as seen outside, for nsenter). IMAGES holds *.tar to import, pause.tar
# among them. When process 1 ends the kernel ends every container and mount with it; only cgroup folders outlive it, and
# this script removes those. Further settings: see node-inner.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# fail SENTENCE WAY_OUT...
fail() {
  printf 'hack/cluster/node.sh: %s\n' "$@" >&2
  exit 1
}

[ "$(uname -s)" = Linux ] || fail "this is $(uname -s); the cluster needs Linux namespaces and cgroups" \
  "run it on a Linux machine or in a Linux virtual machine"
[ "$(id -u)" = 0 ] || fail "not root; the node needs its own mount, network and PID namespaces and cgroups" \
  "run it as root (sudo -E keeps the environment)"
[ $# -ge 1 ] || fail "usage: BIN=... IMAGES=... hack/cluster/node.sh STATE [COMMAND...]"

# need COMMAND DEBIAN_PACKAGE
need() {
  PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || fail "$1 is missing" "install it (Debian: apt-get install $2)"
}
need unshare util-linux
need setpriv util-linux
need ip iproute2
need nft nftables
need openssl openssl
need sysctl procps
need pgrep procps

BIN=${BIN:?the folder that hack/tools.sh e2e prints}
IMAGES=${IMAGES:?a folder of image archives, pause.tar among them}
for b in etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kubelet kube-proxy containerd \
  containerd-shim-runc-v2 ctr runc ptp host-local coredns; do
  [ -x "$BIN/$b" ] || fail "$BIN has no $b" "build it: hack/tools.sh e2e"
done
[ -f "$IMAGES/pause.tar" ] || fail "$IMAGES has no pause.tar" "build it: hack/images/build.sh $IMAGES"

STATE=$(realpath -m "$1")
shift
# The path is written into YAML, TOML and shell words, and its last part names a cgroup.
[[ $STATE =~ ^[A-Za-z0-9/._-]+$ ]] || fail "the path $STATE has characters other than letters, digits, / . _ -" "choose another"
mkdir -p "$STATE"
rm -f "$STATE/ready" "$STATE/init.pid"
free=$(df -Pk "$STATE" | awk 'NR == 2 {print int($4 / 1024)}')
[ "$free" -ge 1024 ] || fail "disk full: $STATE has $free MB free, the cluster wants 1024" \
  "free some space or choose a STATE on another disk"

KC=syncline-$(basename "$STATE")
export BIN IMAGES KC

# Cgroup folders are not part of any namespace. A folder can be removed once the last process in it is gone.
remove_cgroups() {
  local c
  for c in "/sys/fs/cgroup/$KC" /sys/fs/cgroup/*/"$KC"; do
    if [ -d "$c" ]; then find "$c" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
  done
}
cgroups_left() {
  compgen -G "/sys/fs/cgroup/$KC" >/dev/null || compgen -G "/sys/fs/cgroup/*/$KC" >/dev/null
}

remove_cgroups
setpriv --pdeathsig KILL \
  unshare --mount --net --pid --fork --kill-child --mount-proc "$here/node-inner.sh" "$STATE" "$@" &
outer=$!

stop() {
  kill -KILL "$outer" 2>/dev/null || true # --kill-child: process 1 goes too, and with it everything inside
  wait "$outer" 2>/dev/null || true
  rm -f "$STATE/ready" "$STATE/init.pid"
  for _ in $(seq 200); do # the kernel ends the processes in its own time
    remove_cgroups
    cgroups_left || return 0
    sleep 0.1
  done
  echo "hack/cluster/node.sh: cgroup folders named $KC are still in use; remove them with rmdir when they are not" >&2
}
trap stop EXIT
trap 'exit 143' TERM INT HUP

for _ in $(seq 100); do # unshare forks: its only child is process 1 of the namespaces
  if pgrep -P "$outer" >"$STATE/init.pid"; then break; fi
  sleep 0.02
done

status=0
wait "$outer" || status=$?
exit "$status"
