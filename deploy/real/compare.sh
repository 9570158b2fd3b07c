#!/usr/bin/env bash
# Runs every trace below a folder (*.csv, *.csv.gz) under each policy and writes what came out as a table into
# docs/policies/comparison.md, between its markers. Exits with 1 if a limit was passed or a policy failed;
# docs/policies/comparison.md says what the columns are.
#
#   deploy/real/compare.sh FOLDER
#
# Programs are those in $CARGO_TARGET_DIR/debug, policies those in $WATTLE_POLICIES (`make compare` sets both).
# MONTH=2019-07 takes only the sessions that began in that month of the traces. JOBS=n runs so many at once (as many as there are processors). ONLY=NAME runs one policy and prints its rows without writing them. `--check` instead of a folder runs nothing: it looks
# whether the page says traces, limit, price, surplus and commit, has each policy for each trace, and no breach.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
wattle=${CARGO_TARGET_DIR:-$root/target}/debug/wattle
page=$root/docs/policies/comparison.md
traces=${1:?say where the traces are: deploy/real/compare.sh FOLDER}
begin='<!-- written by `make compare`: begin -->'
end='<!-- written by `make compare`: end -->'
failures=0

check_page() {
    local block said missing=0
    block=$(sed -n "\\|$begin|,\\|$end|p" "$page")
    for said in Traces Limit 'Price per kWh' Surplus Commit; do
        grep -q "^- \*\*$said:\*\* ." <<< "$block" || { echo "compare: $page doesn't say $said" >&2; missing=1; }
    done
    awk -F ' *[|] *' '
        /^### / {traces++}
        /^\| / && $2 != "policy" && $2 !~ /^-/ {rows++; if ($14 != 0) {print "compare: " $2 ": " $14 " breaches"; bad = 1}}
        END {if (!traces || rows != 8 * traces) {print "compare: " rows + 0 " rows for " traces + 0 " traces of eight"; bad = 1}; exit bad}
    ' <<< "$block" >&2 || missing=1
    return "$missing"
}
[ "$traces" != --check ] || { check_page; exit; }

[ -x "$wattle" ] || { echo "compare: $wattle is not there; build it: make build" >&2; exit 2; }
mapfile -t files < <(find "$traces" -type f \( -name '*.csv' -o -name '*.csv.gz' \) | sort)
[ ${#files[@]} -gt 0 ] || { echo "compare: no *.csv or *.csv.gz below $traces" >&2; exit 2; }
jobs=${JOBS:-$(nproc)}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

# taken INDEX: the trace as it is run.
taken() {
    if [ -z "${MONTH:-}" ]; then echo "${files[$1]}"; return; fi
    local into=$work/$1.csv reader=cat
    [[ ${files[$1]} != *.gz ]] || reader=zcat
    [ -s "$into" ] || "$reader" "${files[$1]}" | awk -v month="$MONTH" 'NR == 1 || index($0, month) == 1' > "$into"
    echo "$into"
}

# What is run: a name for the table, the policy, and its settings as lines of TOML.
runs=(
    'equal-share|equal-share|'
    'fair-share|fair-share|'
    'first-come, 8 slots|first-come|mode = "slots"\nslots = 8'
    'first-come, reserve|first-come|mode = "reserve"'
    'deadline|deadline|'
    'cost-aware|cost-aware|'
    'solar-surplus, surplus|solar-surplus|mode = "surplus"'
    'solar-surplus, minimum|solar-surplus|mode = "minimum"'
)

# The name of a trace: its folder and its own, without endings.
name_of() { local name; name=$(basename "$(dirname "$1")")/$(basename "$1"); name=${name%.gz}; echo "${name%.csv}"; }

# field NAME: a number of the summary that is looked at.
field() { sed -E "s/.*\"$1\":([0-9.]+).*/\1/" "$summary"; }

# The site file with a policy and its settings.
site_file() {
    sed "s/^policy = .*/policy = \"$1\"/" "$here/compare.toml"
    [ -z "$2" ] || printf '\n[control.settings]\n%b\n' "$2"
}

# One row of the table.
row() {
    awk -v name="$1" -v given="$(field delivered_wh)" -v wanted="$(field wanted_wh)" -v requested="$(field requested_wh)" \
        -v full="$(field full)" -v sessions="$(field sessions)" -v wait="$(field mean_wait_s)" -v idle="$(field mean_standby_s)" \
        -v cost="$(field cost_micros)" -v own="$(field from_surplus_wh)" -v switches="$(field standby_switches)" \
        -v asked="$(field asked)" -v breaches="$(field breaches)" 'BEGIN {
            printf "| %s | %.0f | %.1f | %.1f | %d | %.1f | %.1f | %.1f | %.2f | %.3f | %.1f | %.2f | %d |\n", name, given / 1e3,
                100 * given / requested, 100 * given / wanted, full, 100 * full / sessions, wait / 60, idle / 60, cost / 1e6,
                cost / 1e3 / given, 100 * own / given, switches / asked, breaches
        }'
}

# is_run POLICY: whether it is one of those to run.
is_run() { [ -z "${ONLY:-}" ] || [ "$ONLY" = "$1" ]; }

# simulate FOLDER TRACE POLICY SETTINGS: leaves the summary in the folder.
simulate() {
    mkdir -p "$1"
    site_file "$3" "$4" > "$1/site.toml"
    "$wattle" simulate --site "$1/site.toml" --trace "$2" --lake "$1/lake" --json \
        --prices "$here/prices.csv" --surplus "$here/surplus.csv" > "$1/summary.json"
    rm -rf "$1/lake"
}

# Runs all policies on all traces, so many at once. A run that fails leaves no summary, on which the table then ends.
simulate_all() {
    local trace run name policy settings
    for trace in "${!files[@]}"; do
        for run in "${!runs[@]}"; do
            IFS='|' read -r name policy settings <<< "${runs[run]}"
            is_run "$policy" || continue
            while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
            echo "$(name_of "${files[trace]}"), $name" >&2
            simulate "$work/$trace.$run" "$(taken "$trace")" "$policy" "$settings" &
        done
    done
    wait
}

# compare INDEX: the section of that trace.
compare() {
    local trace=${files[$1]} run name policy settings seconds=0 rows=0
    : > "$work/rows"
    for run in "${!runs[@]}"; do
        IFS='|' read -r name policy settings <<< "${runs[run]}"
        is_run "$policy" || continue
        summary=$work/$1.$run/summary.json
        [ -s "$summary" ] || { echo "compare: $(name_of "$trace"), $name: the run has failed" >&2; exit 1; }
        if [ "$(field breaches)" != 0 ] || [ "$(field policy_failures)" != 0 ]; then
            echo "compare: $name: $(field breaches) breaches, $(field policy_failures) failures" >&2
            failures=$((failures + 1))
        fi
        row "$name" >> "$work/rows"
        rows=$(field rows)
        seconds=$(awk -v a="$seconds" -v b="$(field wall_s)" 'BEGIN {print a + b}')
    done
    printf '\n### %s\n\n' "$(name_of "$trace")"
    printf '%s rows, of which %s are sessions; %s asked for energy, %.0f kWh in all; at %.0f kWh they were full. SHA-256 %s.\n\n' \
        "$rows" "$(field sessions)" "$(field asked)" "$(field requested_wh)e-3" "$(field wanted_wh)e-3" \
        "$(sha256sum "$trace" | cut -c1-16)"
    echo '| policy | given, kWh | of requested, % | of what fills them, % | served in full | in full, % | wait, min | on standby, min | cost | cost per kWh | from surplus, % | switched off per session | breaches |'
    echo '|---|---|---|---|---|---|---|---|---|---|---|---|---|'
    cat "$work/rows"
    printf 'compare: %.0f s\n' "$seconds" >&2
}

commit=$(git -C "$root" rev-parse --short HEAD 2> /dev/null || echo unknown)
git -C "$root" diff --quiet HEAD -- . ':!docs' 2> /dev/null || commit=$commit+
simulate_all
limit=$(sed -n 's/^limit_a = //p' "$here/compare.toml")
{
    echo "$begin"
    printf '\n- **Traces:**'; for trace in "${files[@]}"; do printf ' `%s`' "$(name_of "$trace")"; done; echo
    [ -z "${MONTH:-}" ] || echo "- **Month:** $MONTH"
    echo "- **Limit:** $limit A on each phase (\`deploy/real/compare.toml\`)"
    echo "- **Price per kWh:** $(tail -n +2 "$here/prices.csv" | tr '\n' ';' | sed 's/,/ /g; s/;$//; s/;/, /g'), by the site's clocks (\`deploy/real/prices.csv\`)"
    echo "- **Surplus:** $(awk -F, 'NR > 1 {if (NR > 2) wh += w * ($1 - h); h = $1; w = $2; if (w > most) most = w} END {printf "%.0f kWh a day, at most %.0f kW", wh / 1e3, most / 1e3}' "$here/surplus.csv") (\`deploy/real/surplus.csv\`)"
    echo "- **Commit:** $commit"
    for trace in "${!files[@]}"; do compare "$trace"; done
    printf '\n%s\n' "$end"
} > "$work/block"

if [ -n "${ONLY:-}" ]; then cat "$work/block"
else
    grep -qF "$begin" "$page" && grep -qF "$end" "$page" || { echo "compare: $page lacks its markers" >&2; exit 2; }
    awk -v begin="$begin" -v end="$end" -v block="$work/block" '
        index($0, begin) {while ((getline line < block) > 0) print line; skips = 1}
        !skips
        index($0, end) {skips = 0}' "$page" > "$work/page"
    cat "$work/page" > "$page"
fi
[ "$failures" = 0 ] || { echo "compare: $failures runs failed" >&2; exit 1; }
