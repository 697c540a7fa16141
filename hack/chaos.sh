#!/usr/bin/env bash
# The chaos suite (test/chaos): random faults for real workers and servers, judged by a checker of their history; every
# rule of the lease protocol switched off, which the checker must find; and pressures, with the rate before, under and after.
#   hack/chaos.sh              random seeds for CHAOS_SECONDS (60), the rules, the pressures: 5 minutes on 2 cores
#   SEEDS=40 hack/chaos.sh     so many random episodes
#   SEEDS=7..7 hack/chaos.sh   the episodes of these seeds, as a failure says
#   ONLY=episodes|rules|releases|pressure   one of the parts
# Arguments go to the test binary, such as -test.v.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PG_BINDIR=${PG_BINDIR:-$(hack/postgres.sh)}
command -v gcc >/dev/null || {
  echo 'hack/chaos.sh: no gcc, which builds what gives servers a wrong clock and a slow disk' \
    'install it (Debian: apt-get install gcc libc6-dev)' >&2
  exit 1
}
export CHAOS_SECONDS=${CHAOS_SECONDS:-60}
case ${ONLY:-} in
'') run='^Test(Episodes|Rules|Releases|Pressure)$' ;;
episodes) run='^TestEpisodes$' ;;
rules) run='^TestRules$' ;;
releases) run='^TestReleases$' ;;
pressure) run='^TestPressure$' ;;
*)
  echo "hack/chaos.sh: ONLY is '$ONLY', want episodes, rules, releases or pressure" >&2
  exit 1
  ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/overlay"
go run ./test/chaos/overlay "$work/overlay"
go test -tags chaos -overlay "$work/overlay/clock.json" -c -o "$work/chaos" ./test/chaos
export CHAOS_NEXT=$work/chaos-next
go test -tags chaos -overlay "$work/overlay/next.json" -c -o "$CHAOS_NEXT" ./test/chaos
cd test/chaos
"$work/chaos" -test.run "$run" -test.timeout 24h "$@"
