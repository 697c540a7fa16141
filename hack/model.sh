#!/usr/bin/env bash
# Searches the model of the claim protocol (test/model, explained in docs/leases.md) with spin: the protocol must hold,
# and each rule switched off must give the counterexample that test/model/configurations.txt expects. The histories of
# counterexamples and of random walks go through the transition relation that the chaos suite uses.
#   hack/model.sh [quick|full] [NAME...]     JOBS=n searches at once (default: one a processor)
# Exits with 1 when anything is not as expected, or a search did not complete. Counterexamples stay in the cache.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
model=$root/test/model
cache=${SYNCLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/syncline}/model

# search DIR MODE runs one configuration, which stands in DIR/line, and leaves DIR/result.
search() {
  local dir=$1 mode=$2 kind name expected history words flags=() file=claims.pml limit=300 verdict
  read -r kind _ name expected history words <"$dir/line"
  [ "$mode" = full ] && limit=3000
  for word in $words; do
    case $word in *.pml) file=$word ;; *) flags+=("-D$word") ;; esac
  done
  local search=(-O1 -DSAFETY -DCOLLAPSE) run=(-m20000)
  case $kind in
  breaks) search=(-O0 -DSAFETY -DBFS -DCOLLAPSE) ;;
  ends) search=(-O1 -DNP -DNOFAIR -DCOLLAPSE) run+=(-l) ;;
  esac
  cd "$dir"
  if ! spin -a "${flags[@]}" "$model/$file" >spin.log 2>&1 ||
    ! gcc -w -DVECTORSZ=2048 -DMEMLIM=6000 "${search[@]}" -o pan pan.c >gcc.log 2>&1; then
    report '?' 'does not compile' wrong
    return
  fi
  timeout "$limit" ./pan "${run[@]}" -w20 >pan.log 2>&1 || true
  local states found='-' errors
  states=$(awk '/states, stored/ { print $1; exit }' pan.log)
  errors=$(awk '/errors:/ { print $NF }' pan.log | tail -1)
  if [ -e "$file.trail" ]; then
    SHOW=1 timeout 60 ./pan -r "$file.trail" -m20000 >trail.txt 2>&1 || true
    found=$(sed -n 's/.*\*\*\* \([a-z-]*\).*/\1/p' trail.txt | head -1)
    [ "$kind" = ends ] && found=cycle
    found=${found:-assertion}
  fi
  verdict=ok
  if [ "$found" != "$expected" ]; then
    verdict=wrong
  elif [ "$kind" != breaks ] && { [ "$errors" != 0 ] || grep -q 'not completed' pan.log; }; then
    found='not completed' verdict=wrong
  fi
  [ "$verdict" = wrong ] || [ "$history" = - ] || check_history "$kind" "$history" "$file" || verdict=wrong
  report "${states:-?}" "$found" "$verdict"
}

# check_history says whether the transition relation judges as expected; found is extended with what it said.
check_history() {
  local kind=$1 wanted=$2 file=$3 got
  if [ "$kind" = breaks ]; then
    grep '^{' trail.txt >history.json || true
  else
    for seed in $(seq 20); do
      SHOW=1 WALK=$seed ./pan -w10 >walk.txt 2>&1 || { found="walk $seed"; return 1; }
      grep '^{' walk.txt >"walk$seed.json"
    done
  fi
  got=$("$accept" ./*.json 2>accept.log | awk '{ $1 = ""; print substr($0, 2) }' | sort -u | tr ' \n' '-,' | sed 's/,$//') || got=error
  [ "$got" = "$wanted" ] && return 0
  found="$found, history $got"
  return 1
}

# report STATES FOUND VERDICT. The time is what the processors worked for this configuration, however busy they are.
report() {
  local seconds
  times >times.txt
  seconds=$(awk 'NR == 2 { gsub(/[ms]/, " "); split($0, t, " "); printf "%.1f", t[1] * 60 + t[2] + t[3] * 60 + t[4] }' times.txt)
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$kind" "$name" "$1" "$seconds" "$expected" "$2" "$history" "$3" >result
  rm -f pan pan.? ./walk*
  [ "$3" = wrong ] || rm -f trail.txt ./*.trail ./*.json
  printf '%-8s %-20s %9s states %6s s  expected %-16s found %s: %s\n' "$kind" "$name" "$1" "$seconds" "$expected" "$2" "$3"
}

if [ "${1:-}" = --search ]; then
  export accept=$work/accept
  search "$2" "$3"
  exit
fi

mode=${1:-quick}
[ $# -gt 0 ] && shift
case $mode in quick | full) ;; *)
  echo "usage: hack/model.sh [quick|full] [NAME...]" >&2
  exit 2
  ;;
esac
for tool in spin gcc go; do
  command -v "$tool" >/dev/null || {
    echo "hack/model.sh needs $tool; on Debian: apt-get install spin gcc libc6-dev" >&2
    exit 1
  }
done

mkdir -p "$cache"
export work
work=$(mktemp -d "$cache/$mode.XXXXXX")
(cd "$root" && go build -o "$work/accept" ./test/model/accept)

# Each configuration gets a folder, with its sets of macros written out.
awk -v mode="$mode" -v only=" $* " -v work="$work" '
  /^#/ || NF == 0 { next }
  $1 == "set" { s = ""; for (i = 3; i <= NF; i++) s = s " " $i; sets["@" $2] = s; next }
  $2 == "full" && mode == "quick" { next }
  only !~ /^ *$/ && index(only, " " $3 " ") == 0 { next }
  {
    line = $1
    for (i = 2; i <= NF; i++) line = line " " ($i in sets ? sets[$i] : $i)
    dir = sprintf("%s/%03d-%s", work, ++n, $3)
    system("mkdir " dir)
    print line > (dir "/line")
    print dir
  }' "$model/configurations.txt" >"$work/list"
[ -s "$work/list" ] || {
  echo "no configuration is called so" >&2
  exit 2
}
begun=$SECONDS
xargs -a "$work/list" -P "${JOBS:-$(nproc)}" -I{} nice "${BASH_SOURCE[0]}" --search {} "$mode"

printf '\n%-9s %-22s %10s %8s  %-15s %-15s %s\n' kind configuration states seconds expected found history
cat "$work"/*/result | awk -F'\t' '{ printf "%-9s %-22s %10s %8s  %-15s %-15s %s%s\n", $1, $2, $3, $4, $5, $6, $7, $8 == "wrong" ? "  <- WRONG" : "" }'
wrong=$(cat "$work"/*/result | awk -F'\t' '$8 == "wrong"' | wc -l)
searched=$(cat "$work"/*/result | wc -l)
echo
echo "$searched of $(wc -l <"$work/list") configurations searched in $((SECONDS - begun)) s, $wrong not as expected"
if [ "$wrong" = 0 ] && [ "$searched" = "$(wc -l <"$work/list")" ]; then
  rm -rf "$work"
  exit 0
fi
echo "what was found is in $work (trail.txt: the steps, one a line)"
exit 1
