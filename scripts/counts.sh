#!/usr/bin/env bash
# Counts instructions and heap allocations of the hot path and compares them with bench/counts.json: more than 5 % more
# instructions, or an allocation more, fails. How it counts is in bench/src/counts, what it counts in bench/benches/counts.
#   scripts/counts.sh                  compares
#   scripts/counts.sh accept REASON    moves the baselines that no longer hold, and writes the reason beside each
# ONLY=filter: compares cases with this in their names.
set -euo pipefail
cd "$(dirname "$0")/.."

arguments=(--only "${ONLY:-}")
if [ "${1:-}" = accept ]; then
    arguments+=(--accept "${2:-}")
fi
command -v valgrind >/dev/null || { echo "counts: there is no valgrind; scripts/setup.sh test installs it" >&2; exit 1; }
echo "Building what is counted, optimised; the first time takes some minutes."
program=$(cargo bench --quiet --locked --profile dev --config bench/counts.profile.toml -p sallyport-bench --bench counts \
    --no-run --message-format json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\/counts-[^"]*\)".*/\1/p')
status=0
"$program" "${arguments[@]}" || status=$?
# Says that counts grew, but that another compiler or machine may be the reason: see `judge` in bench/benches/counts/main.rs.
if [ "$status" -eq 3 ]; then
    scripts/not-run.sh "instruction counts: more than bench/counts.json says, but that was made with other tools or on another kind of machine, see above"
    exit 0
fi
exit "$status"
