#!/usr/bin/env bash
# The official SDK's own test-suite against the edge. The npm package has no tests, so a checkout of
# github.com/centrifugal/centrifuge-js is needed, kept outside of this repository:
#
#   git clone --depth 1 --branch 5.7.1 https://github.com/centrifugal/centrifuge-js ../centrifuge-js
#   tests/realtime/sdk-suite.sh ../centrifuge-js        (or CENTRIFUGE_JS=../centrifuge-js)
#
# Port 8000 has to be free: the suite has it written in. What runs:
#   centrifuge.test.ts   everything that needs no server, and the rows of the WebSocket transport
#   recovery.test.ts     the three stream tests
# What does not, and why:
#   rows `http_stream:` and `sse:`        Centrifugo's emulated transports (a stream down, POST /emulation up). The edge has a
#                                         plain SSE endpoint instead, which sse.test.mjs is about.
#   recovery.test.ts `map: …`             map subscriptions, an extension of Centrifugo 6.8
#   map*.test.ts, shared_poll*.test.ts,   the same, shared polling, and fossil deltas: not offered; a client that asks for them
#   delta.test.ts, debounce.test.ts       gets an error or plain publications
#   *.protobuf.test.ts                    the Protobuf form of the protocol: not offered
#   compaction, getstate, utils, codec    run against the SDK's own fake server or none: they test nothing of ours
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "sdk-suite: $*" >&2
    exit 1
}

if [ "${1:-}" != --inside ]; then
    suite=$(realpath "${1:-${CENTRIFUGE_JS:?the folder of a centrifuge-js checkout}}")
    [ -f "$suite/src/recovery.test.ts" ] || fail "$suite is no checkout of centrifuge-js"
    if [ ! -x "$suite/node_modules/.bin/jest" ]; then
        # Its peer dependencies contradict each other, which only matters for the documentation it makes.
        (cd "$suite" && npm install --no-audit --no-fund --ignore-scripts --no-package-lock --legacy-peer-deps)
    fi
    export STORIES_ROUTES="$here/sdk-suite.routes.yaml" STORIES_TOPICS="$here/sdk-suite.topics.txt"
    exec "$here/run.sh" -- "$here/sdk-suite.sh" --inside "$suite"
fi

suite=$2
log=$(mktemp -t sallyport-shim-XXXXXX)
node "$here/publishing_shim.mjs" >"$log" 2>&1 &
shim=$!
finish() {
    local status=$?
    kill "$shim" 2>/dev/null || true
    [ $status -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    exit $status
}
trap finish EXIT
until grep -q listens "$log"; do
    kill -0 "$shim" 2>/dev/null || fail "the shim ended before it listened"
    sleep 0.05
done

cd "$suite"
status=0
# One after the other: both files count who is present.
npx --no-install jest --runInBand --verbose src/centrifuge.test.ts -t '^(?!http_stream: |sse: )' || status=1
npx --no-install jest --runInBand --verbose src/recovery.test.ts -t '^stream: ' || status=1
exit $status
