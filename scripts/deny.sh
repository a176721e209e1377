#!/usr/bin/env bash
# Licences, duplicates, sources and known vulnerabilities of the dependencies, by the rules of deny.toml.
set -euo pipefail
cd "$(dirname "$0")/.."

PATH="$(realpath "${CARGO_TARGET_DIR:-target}")/tools/bin:$PATH"
cargo deny --locked check bans licenses sources
# A workspace of its own, whose lock file is easily forgotten.
cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null

# The advisories live in a git repository of their own, which not every machine can reach.
if timeout 120 cargo deny --locked fetch db; then
    cargo deny --locked check --disable-fetch advisories
else
    cat >&2 <<'TEXT'

************************************************************************************
*  ADVISORIES WERE NOT CHECKED: their database could not be fetched.               *
*  Licences, duplicates and sources are good; known vulnerabilities of             *
*  dependencies are UNKNOWN. Run `make deny` where the database can be reached.    *
************************************************************************************

TEXT
fi
