#!/usr/bin/env bash
# `sallyport check` on the routes.yaml of the demo and on every example. Certificates and secrets that an example
# names are not in the repository: throw-away ones take their place, in a copy.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet --locked -p sallyport -p custom-filter
programs=$(realpath "${CARGO_TARGET_DIR:-target}")/debug
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r routes.yaml examples "$copy"
cd "$copy"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=example \
    -addext subjectAltName=DNS:example.com -keyout any.key -out any.crt 2>/dev/null

# RFC 7517, appendix A.1.
known_keys='{"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "kid": "1",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}'

shopt -s nullglob
files=(routes.yaml examples/*.yaml examples/*/routes.yaml)
[ ${#files[@]} -gt 1 ] || { echo "no examples were found" >&2; exit 1; }
for file in "${files[@]}"; do
    folder=$(dirname "$file")
    # cert: x.crt becomes any.crt, key: x.key any.key.
    for path in $(grep -oE '\b(cert|key): [^ ,}#]+\.(crt|key)' "$file" | cut -d' ' -f2); do
        mkdir -p "$folder/$(dirname "$path")"
        cp "any.${path##*.}" "$folder/$path"
    done
    for path in $(grep -oE '\bfile: [^ ,}#]+\.json' "$file" | cut -d' ' -f2); do
        mkdir -p "$folder/$(dirname "$path")"
        # Key sets get a public key that everybody knows; other files may be empty.
        case $path in *jwks*) echo "$known_keys" ;; *) echo '{}' ;; esac >"$folder/$path"
    done
    for name in $(grep -o '\${[A-Z_]*}' "$file" | tr -d '${}' | sort -u); do
        export "$name=$name-a-throw-away-value-of-more-than-32-bytes"
    done
    # A folder with a filter of its own has a program of its own, with all the commands of `sallyport`.
    program=$programs/$(basename "$folder")
    [ -f "$program" ] || program=$programs/sallyport
    "$program" check "$file"
done
echo "${#files[@]} files are good"
