#!/usr/bin/env bash
# The stories of the real-time bridge, with a real Kafka, the official SDK in Node and in Chromium: tests/realtime/run.sh,
# with the bridge inside the edge and as a process of its own, where what it needs is there or can be installed.
#   scripts/realtime.sh [NAME...]    all stories, or those of these files
#   BRIDGE=separate scripts/realtime.sh    in one of the two modes; the other is `embedded`
set -euo pipefail
cd "$(dirname "$0")/.."

if ! scripts/setup.sh realtime; then
    scripts/not-run.sh "the stories of the real-time bridge (tests/realtime): what they need is not there, see above"
    exit 0
fi
# Both are told, also if the first does not hold.
failed=()
for mode in ${BRIDGE:-embedded separate}; do
    echo "stories: the bridge is $mode"
    BRIDGE=$mode tests/realtime/run.sh "$@" || failed+=("$mode")
done
[ ${#failed[@]} -eq 0 ] || { echo "stories: failed: ${failed[*]}" >&2; exit 1; }
