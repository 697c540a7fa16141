#!/usr/bin/env bash
# The chaos suite (test/chaos): random faults for real workers and servers, judged by a checker of their history; then
# every rule of the lease protocol switched off, which the checker must find.
#   hack/chaos.sh              random seeds for CHAOS_SECONDS (150), then the rules: 5 minutes on 2 cores
#   SEEDS=40 hack/chaos.sh     so many random episodes
#   SEEDS=7..7 hack/chaos.sh   the episodes of these seeds, as a failure says
#   ONLY=episodes|rules        one of the two parts
# Arguments go to the test binary, such as -test.v.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PG_BINDIR=${PG_BINDIR:-$(hack/postgres.sh)}
command -v gcc >/dev/null || {
  echo 'hack/chaos.sh: no gcc, which builds what gives servers a wrong clock and a slow disk' \
    'install it (Debian: apt-get install gcc libc6-dev)' >&2
  exit 1
}
export CHAOS_SECONDS=${CHAOS_SECONDS:-150}
case ${ONLY:-} in
'') run='^(TestEpisodes|TestRules)$' ;;
episodes) run='^TestEpisodes$' ;;
rules) run='^TestRules$' ;;
*)
  echo "hack/chaos.sh: ONLY is '$ONLY', want episodes or rules" >&2
  exit 1
  ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go test -tags chaos -c -o "$work/chaos" ./test/chaos
cd test/chaos
"$work/chaos" -test.run "$run" -test.timeout 24h "$@"
