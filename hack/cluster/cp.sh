#!/usr/bin/env bash
# Starts a control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler. Runs as any user.
#
#   BIN=$(hack/tools.sh test) hack/cluster/cp.sh STATE [ADDRESS]
#
# Returns when the API server is ready and namespace default has its ServiceAccount; the processes go on. STATE receives
# kubeconfig, log/ and pids (a line "PID NAME" each). Settings by environment: API_PORT, ETCD_PORT, ETCD_PEER_PORT,
# SERVICE_CIDR, BIND (address to listen on), KCM_ARGS (more arguments for the controller manager).
set -euo pipefail
STATE=${1:?usage: hack/cluster/cp.sh STATE [ADDRESS]}
ADDRESS=${2:-127.0.0.1}
BIN=${BIN:?the folder that hack/tools.sh prints}
api_port=${API_PORT:-16443}
etcd_port=${ETCD_PORT:-12379}
peer_port=${ETCD_PEER_PORT:-12380}
service_cidr=${SERVICE_CIDR:-10.96.0.0/16}

fail() {
  printf 'hack/cluster/cp.sh: %s\n' "$@" >&2
  exit 1
}

# free PORT SETTING: nobody listens there.
free() {
  if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
    fail "port $1 is taken" "end what listens there (ss -ltnp 'sport = :$1' names it) or set $2 to another port"
  fi
}
free "$api_port" API_PORT
free "$etcd_port" ETCD_PORT
free "$peer_port" ETCD_PEER_PORT

mkdir -p "$STATE/log" "$STATE/cert"
cd "$STATE"
: >pids

# start NAME COMMAND...: in a session of its own, output to log/NAME.log.
start() {
  local name=$1
  shift
  setsid "$@" >"$STATE/log/$name.log" 2>&1 </dev/null &
  echo "$! $name" >>pids
}

# alive NAME: the component's process is there.
alive() {
  kill -0 "$(awk -v name="$1" '$2 == name {print $1}' pids)" 2>/dev/null
}

# explain NAME: why a component did not come up, with the end of its log.
explain() {
  echo "hack/cluster/cp.sh: $1 did not come up; the end of $STATE/log/$1.log:" >&2
  tail -n 15 "$STATE/log/$1.log" >&2
  if grep -q 'no space left on device' "$STATE"/log/*.log; then fail "disk full: free some space below $STATE"; fi
  exit 1
}

[ -f sa.key ] || openssl genrsa -out sa.key 2048 2>/dev/null
token=$(head -c16 /dev/urandom | od -An -tx1 | tr -d ' \n')
(umask 077 && echo "$token,admin,admin,system:masters" >tokens.csv)
(umask 077 && cat >kubeconfig) <<K
apiVersion: v1
kind: Config
clusters: [{name: syncline, cluster: {server: "https://$ADDRESS:$api_port", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: "$token"}}]
contexts: [{name: syncline, context: {cluster: syncline, user: admin}}]
current-context: syncline
K
export KUBECONFIG=$STATE/kubeconfig

start etcd "$BIN/etcd" --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level error \
  --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
  --listen-peer-urls "http://127.0.0.1:$peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" \
  --initial-cluster "default=http://127.0.0.1:$peer_port"

advertise=()
if [ "$ADDRESS" != 127.0.0.1 ]; then advertise=("--advertise-address=$ADDRESS"); fi
# InternalIP first, or kubectl logs and exec would try to resolve the node's name.
start apiserver "$BIN/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" \
  --secure-port "$api_port" --bind-address "${BIND:-$ADDRESS}" "${advertise[@]}" \
  --cert-dir "$STATE/cert" --service-cluster-ip-range "$service_cidr" --allow-privileged=true \
  --authorization-mode Node,RBAC --kubelet-preferred-address-types InternalIP,Hostname \
  --token-auth-file "$STATE/tokens.csv" --service-account-issuer https://kubernetes.default.svc.cluster.local \
  --service-account-key-file "$STATE/sa.key" --service-account-signing-key-file "$STATE/sa.key"

for _ in $(seq 300); do
  if "$BIN/kubectl" get --raw /readyz >/dev/null 2>&1; then break; fi
  alive etcd || explain etcd
  alive apiserver || explain apiserver
  sleep 0.2
done
"$BIN/kubectl" get --raw /readyz >/dev/null 2>&1 || explain apiserver

# KCM_ARGS is a list of words.
# shellcheck disable=SC2086
start kcm "$BIN/kube-controller-manager" --kubeconfig "$KUBECONFIG" --leader-elect=false --secure-port 0 \
  --service-account-private-key-file "$STATE/sa.key" --root-ca-file "$STATE/cert/apiserver.crt" ${KCM_ARGS:-}
start scheduler "$BIN/kube-scheduler" --kubeconfig "$KUBECONFIG" --leader-elect=false --secure-port 0

for _ in $(seq 300); do
  if "$BIN/kubectl" get serviceaccount default >/dev/null 2>&1; then break; fi
  alive kcm || explain kcm
  sleep 0.1
done
"$BIN/kubectl" get serviceaccount default >/dev/null 2>&1 || explain kcm
