#!/usr/bin/env bash
# The inside of node.sh: runs as process 1 of its own mount, network and PID namespaces, starts control plane and node,
# then runs COMMAND, or waits for containerd.
#
#   node-inner.sh STATE [COMMAND...]      (started by node.sh only)
#
# The node's address is 10.99.0.1, pods are in 10.244.0.0/24, Services in 10.96.0.0/16; there is no route out of the
# namespace. Settings by environment: RUNC (another runc), PROXY_MODE (nftables or iptables), KCM_ARGS (see cp.sh),
# LEASE (node lease, seconds). Ports cannot clash with the machine's: the network is a private one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STATE=${1:?}
shift
: "${BIN:?}" "${IMAGES:?}" "${KC:?}"
address=10.99.0.1
pods=10.244.0.0/24
services=10.96.0.0/16
export PATH=$BIN:/usr/sbin:/sbin:$PATH

# Loopback and a bridge without ports, which carries the node's address: not every kernel has the dummy device.
network() {
  ip link set lo up
  ip link add syncline0 type bridge
  ip addr add "$address/24" dev syncline0
  ip link set syncline0 up
  ip route add "$services" dev syncline0 # or the node itself could not open connections to ClusterIPs
  sysctl -qw net.ipv4.ip_forward=1
}

# Private copies of the fixed paths that kubelet and containerd insist on, so that nothing is left behind.
private_mounts() {
  local d
  mount --make-rprivate /
  for d in /run/containerd /run/netns /run/runc /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers; do
    mkdir -p "$d"
    mount -t tmpfs -o mode=755 tmpfs "$d"
  done
  mount --make-rshared /
}

# Kubelet sets three kernel settings that belong to the whole machine: show it files that already say so.
pretend_sysctls() {
  local kv f
  mkdir -p /run/containerd/sysctl
  for kv in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
    f=/run/containerd/sysctl/${kv//[\/=]/_}
    echo "${kv#*=}" >"$f"
    mount --bind "$f" "/proc/sys/${kv%=*}"
  done
}

# Everything of this node lives under /$KC of each hierarchy.
cgroups() {
  local c f
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then # version 2: one hierarchy
    mkdir -p "/sys/fs/cgroup/$KC"
    for c in cpu cpuset memory pids; do echo "+$c" >/sys/fs/cgroup/cgroup.subtree_control; done
    return
  fi
  for c in /sys/fs/cgroup/*/; do # version 1: one hierarchy a controller
    if [ -f "$c/cgroup.procs" ]; then mkdir -p "$c/$KC"; fi
  done
  for f in cpus mems; do # a new cpuset is empty and would take no process
    cat "/sys/fs/cgroup/cpuset/cpuset.$f" >"/sys/fs/cgroup/cpuset/$KC/cpuset.$f"
  done
}

# mark EVENT: a line "SECONDS EVENT" in the timeline.
mark() {
  local now=${EPOCHREALTIME/./}
  printf '%d.%03d %s\n' $(((now - began) / 1000000)) $(((now - began) / 1000 % 1000)) "$*" >>"$STATE/timeline"
}

# launch NAME COMMAND...: in the background, output to log/NAME.log; ends with process 1.
launch() {
  local name=$1
  shift
  "$@" >"$STATE/log/$name.log" 2>&1 &
  echo "$! $name" >>"$STATE/pids.node"
}

# die NAME SENTENCE: with the end of the component's log.
die() {
  echo "hack/cluster/node-inner.sh: $2; the end of $STATE/log/$1.log:" >&2
  tail -n 15 "$STATE/log/$1.log" >&2 || true
  if grep -qs 'no space left on device' "$STATE"/log/*.log; then echo "disk full: free some space below $STATE" >&2; fi
  exit 1
}

# ptp (routed addresses) rather than bridge: a pod may call a Service whose endpoint is on its own node.
# restrict_oom_score_adj: a container of a container may not lower it even as root.
containerd_config() {
  cat >"$STATE/cni/10-syncline.conflist" <<K
{"cniVersion": "1.0.0", "name": "syncline", "plugins": [{"type": "ptp", "ipam": {"type": "host-local",
  "dataDir": "/var/lib/cni/syncline", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
K
  cat >"$STATE/containerd.toml" <<K
version = 3
root = '$STATE/containerd'
state = '/run/containerd'
disabled_plugins = ['io.containerd.nri.v1.nri']
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'localhost/pause:1'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['$BIN']
  conf_dir = '$STATE/cni'
  use_internal_loopback = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '${RUNC:-$BIN/runc}'
  SystemdCgroup = false
K
}

# Anonymous access to the kubelet is fine here: nothing outside the namespace reaches it.
kubelet_config() {
  cat >"$STATE/kubelet.yaml" <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupRoot: /$KC
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: [$address]
clusterDomain: cluster.local
resolvConf: ""
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
syncFrequency: 10s
nodeLeaseDurationSeconds: ${LEASE:-40}
nodeStatusUpdateFrequency: 5s
K
}

proxy_config() {
  cat >"$STATE/proxy.yaml" <<K
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ${PROXY_MODE:-nftables}
clientConnection: {kubeconfig: $STATE/kubeconfig}
hostnameOverride: node1
clusterCIDR: $pods
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
healthzBindAddress: ""
K
}

dns_config() {
  cat >"$STATE/Corefile" <<K
.:53 {
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local $services {
    kubeconfig $STATE/kubeconfig
  }
  cache 5
}
K
  # The node resolves the names of Services too.
  printf 'search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver %s\noptions ndots:5\n' \
    "$address" >"$STATE/resolv.conf"
  mount --bind "$STATE/resolv.conf" /etc/resolv.conf
}

import_images() {
  local t
  for t in "$IMAGES"/*.tar; do
    ctr -n k8s.io images import "$t" >>"$STATE/log/import.log" 2>&1 || die import "image archive $t could not be imported"
  done
}

began=${EPOCHREALTIME/./}
mkdir -p "$STATE"/{log,cert,cni,containerd,pki}
: >"$STATE/timeline"
: >"$STATE/pids.node"
: >"$STATE/log/import.log"
network
private_mounts
pretend_sysctls
cgroups

containerd_config
launch containerd containerd -c "$STATE/containerd.toml" # first: it needs no API server
containerd_pid=$!
BIND=0.0.0.0 "$here/cp.sh" "$STATE" "$address"
mark control plane up
for _ in $(seq 100); do
  if ctr version >/dev/null 2>&1; then break; fi
  sleep 0.1
done
ctr version >/dev/null 2>&1 || die containerd "containerd did not come up"
import_images
mark images imported

kubelet_config
launch kubelet kubelet --config "$STATE/kubelet.yaml" --kubeconfig "$STATE/kubeconfig" --cert-dir "$STATE/pki" \
  --hostname-override node1 --node-ip "$address"
proxy_config
launch kube-proxy kube-proxy --config "$STATE/proxy.yaml"
dns_config
launch coredns coredns -conf "$STATE/Corefile"
cat "$STATE/pids.node" >>"$STATE/pids"

export KUBECONFIG=$STATE/kubeconfig
for _ in $(seq 300); do
  if kubectl get node node1 >/dev/null 2>&1; then break; fi
  sleep 0.1
done
kubectl wait --for=condition=Ready node/node1 --timeout=60s >/dev/null 2>&1 || die kubelet "the node did not become Ready"
mark node ready
touch "$STATE/ready"

if [ $# -gt 0 ]; then
  "$@"
else
  wait "$containerd_pid"
fi
