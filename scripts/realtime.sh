#!/usr/bin/env bash
# The stories of the real-time bridge, with a real Kafka, the official SDK in Node and in Chromium: tests/realtime/run.sh,
# where what it needs is there or can be installed.
#   scripts/realtime.sh [NAME...]    all stories, or those of these files
set -euo pipefail
cd "$(dirname "$0")/.."

if ! scripts/setup.sh realtime; then
    scripts/not-run.sh "the stories of the real-time bridge (tests/realtime): what they need is not there, see above"
    exit 0
fi
exec tests/realtime/run.sh "$@"
