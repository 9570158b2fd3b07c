#!/usr/bin/env bash
# Runs every trace below a folder (*.csv, *.csv.gz) through the whole line, under a limit that binds and one that
# doesn't, and checks what comes out. Exits with 1 if any check fails; docs/simulate.md says what is checked.
#
#   deploy/real/run.sh FOLDER
#
# Programs are those in $CARGO_TARGET_DIR/debug, policies those in $WATTLE_POLICIES (`make real` sets both).
# Lakes are made in a temporary folder and removed; KEEP=FOLDER keeps them there.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
wattle=${CARGO_TARGET_DIR:-$root/target}/debug/wattle
traces=${1:?say where the traces are: deploy/real/run.sh FOLDER}
zone=America/Los_Angeles
most_seconds=120
failures=0

[ -x "$wattle" ] || { echo "real: $wattle is not there; build it: make build" >&2; exit 2; }
mapfile -t files < <(find "$traces" -type f \( -name '*.csv' -o -name '*.csv.gz' \) | sort)
[ ${#files[@]} -gt 0 ] || { echo "real: no *.csv or *.csv.gz below $traces" >&2; exit 2; }

if [ -n "${KEEP:-}" ]; then work=$KEEP; mkdir -p "$work"
else work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
fi

# check WHAT COMMAND...: says whether a test holds, and counts it if it doesn't.
check() {
    local what=$1; shift
    if "$@"; then echo "  ok    $what"; else echo "  FAIL  $what"; failures=$((failures + 1)); fi
}

# field NAME: a number of the summary.
field() { sed -E "s/.*\"$1\":([0-9.]+).*/\1/" "$work/summary.json"; }

# The numbers of all reasons together.
quarantined() { sed -E 's/.*"quarantined":\{([^}]*)\}.*/\1/' "$work/summary.json" | tr ',' '\n' | awk -F: '{n += $2} END {print n + 0}'; }

# The highest of the three peaks is not above the limit.
peak_within() { sed -E 's/.*"peak_a":\[([^]]*)\].*/\1/' "$work/summary.json" | tr ',' '\n' | awk -v most="$1" '$1 > most {bad = 1} END {exit bad}'; }

# Rows of a trace: its lines after the header that are not empty.
rows_of() { case $1 in *.gz) gzip -dc "$1" ;; *) cat "$1" ;; esac | tail -n +2 | grep -c '[^[:space:]]' || true; }

below() { awk -v a="$1" -v b="$2" 'BEGIN {exit !(a < b)}'; }

# Sessions by name and entries of the quarantine, as the lake tells them.
in_lake() {
    "$wattle" sql --lake "$1" --format csv \
        "SELECT (SELECT count(DISTINCT session) FROM sessions) + (SELECT count(*) FROM quarantine) AS n" | tail -n 1
}

# Energy per station and month by SQL, and each month's bill.
check_energy() {
    local lake=$1 month wh billed sum=0
    "$wattle" sql --lake "$lake" --format csv -o "$work/stations.csv" \
        "SELECT to_char(ended_at AT TIME ZONE '$zone', '%Y-%m') AS month, device, sum(energy_wh) AS wh
         FROM sessions WHERE site = 'real' GROUP BY 1, 2 ORDER BY 1, 2"
    awk -F, 'NR > 1 {wh[$1] += $3; n[$1]++} END {for (m in wh) print m, wh[m], n[m]}' "$work/stations.csv" | sort > "$work/months"
    while read -r month wh stations; do
        billed=$("$wattle" bill --site real --month "$month" --lake "$lake" --json | sed -n 's/^  "energy_wh": \([0-9]*\).*/\1/p')
        check "$month: $stations stations gave $wh Wh, the bill has ${billed:-none}" [ "$wh" = "$billed" ]
        sum=$((sum + wh))
    done < "$work/months"
    check "all months together are the $(field delivered_wh) Wh of the sessions" [ "$sum" = "$(field delivered_wh)" ]
}

# A backtest of the policy that decided gives what was recorded again: every setpoint, and the energy.
check_backtest() {
    local lake=$1 recorded same energies
    if ! "$wattle" policy backtest --lake "$lake" --site real --policy equal-share --json > "$work/backtest.json"; then
        check "the backtest runs, without a breach" false
        return
    fi
    recorded=$(sed -E 's/.*"again":\{"recorded":([0-9]+).*/\1/' "$work/backtest.json")
    same=$(sed -E 's/.*"again":\{"recorded":[0-9]+,"same":([0-9]+).*/\1/' "$work/backtest.json")
    energies=$(grep -oE '"name":"[^"]*","energy_wh":[0-9]+' "$work/backtest.json" | sed 's/.*://' | sort -u)
    check "a backtest gives $same of $recorded recorded setpoints again" [ "$same" = "$recorded" ]
    check "and its energy is that of the sessions" [ "$energies" = "$(field delivered_wh)" ]
}

# run TRACE LIMIT binding|free: one simulation with its checks.
run() {
    local trace=$1 limit=$2 kind=$3 lake name
    name=$(basename "$(dirname "$trace")")-$(basename "$trace"); name=${name%.gz}; name=${name%.csv}
    lake=$work/$name-$limit
    echo "$trace, $limit A per phase"
    if ! "$wattle" simulate --site "$here/site-${limit}a.toml" --policy equal-share --trace "$trace" --lake "$lake" --json \
        > "$work/summary.json"; then
        check "it runs" false
        return
    fi
    sed -E 's/^\{|\}$//g; s/,"/, "/g; s/^/  /' "$work/summary.json"
    local rows; rows=$(rows_of "$trace")
    check "the trace has $rows rows" [ "$rows" = "$(field rows)" ]
    check "each is one of $(field sessions) sessions or of $(quarantined) in quarantine" \
        [ "$rows" = $(($(field sessions) + $(quarantined))) ]
    check "SQL counts as many" [ "$rows" = "$(in_lake "$lake")" ]
    check "no limit was passed" [ "$(field breaches)" = 0 ]
    check "the peak is within $limit A" peak_within "$limit"
    check "the policy decided each time" [ "$(field policy_failures)" = 0 ]
    check "$(field wall_s) s are under $most_seconds s" below "$(field wall_s)" "$most_seconds"
    if [ "$kind" = free ]; then
        check "each of $(field easy) sessions that had the time got what the trace says" [ "$(field short)" = 0 ]
    fi
    if [ "$kind" = binding ]; then check_backtest "$lake"; fi
    check_energy "$lake"
    [ -n "${KEEP:-}" ] || rm -rf "$lake"
}

for trace in "${files[@]}"; do
    run "$trace" 150 binding
    run "$trace" 2000 free
done

if [ "$failures" -gt 0 ]; then echo "real: $failures checks failed" >&2; exit 1; fi
echo "real: all checks hold"
