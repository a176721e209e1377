#!/usr/bin/env bash
# Runs one step of `make test`: prints its name, runs it, prints how it ended and how long it took.
#   scripts/step.sh NAME COMMAND [ARGUMENT...]
set -euo pipefail

name=$1
shift
printf '\n==> %s\n' "$name"
start=$SECONDS
status=0
"$@" || status=$?
if [ "$status" -eq 0 ]; then
    printf '<== %s: ok, %ds\n' "$name" $((SECONDS - start))
else
    printf '<== %s: FAILED with exit code %d after %ds\n' "$name" "$status" $((SECONDS - start))
fi
exit "$status"
