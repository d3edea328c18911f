#!/usr/bin/env bash
# Lints every certificate in a folder: zlint's RFC sources, and pkilint when it is installed.
# Exit code 1 when one has a finding of level error or fatal.
set -euo pipefail

usage="usage: $0 FOLDER   (for instance /etc/temporal/certs)"
folder=${1:?$usage}
[ -d "$folder" ] || { echo "$usage" >&2; exit 2; }

PATH="$PATH:$(go env GOPATH 2>/dev/null || echo "$HOME/go")/bin"
if ! command -v zlint >/dev/null; then
    echo "installing zlint" >&2
    go install github.com/zmap/zlint/v3/cmd/zlint@v3.7.3
fi

sources=RFC3279,RFC5280,RFC5480,RFC5891,RFC8813
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A chain is several certificates: each is linted alone. Old generations and links to them are the same files again.
count=0
while IFS= read -r file; do
    count=$((count + 1))
    csplit --quiet --elide-empty-files --prefix "$work/$count-" --suffix-format '%02d.pem' \
        "$file" '/-----BEGIN CERTIFICATE-----/' '{*}'
    for part in "$work/$count"-*.pem; do
        printf '%s\t%s\n' "$part" "$file" >>"$work/list"
    done
done < <(find -L "$folder" -name '..g*' -prune -o -name '..data*' -prune -o -name '*.crt' -type f -print | sort)
[ "$count" -gt 0 ] || { echo "no certificate in $folder" >&2; exit 2; }

failed=0
while IFS=$'\t' read -r part file; do
    findings=$(zlint -includeSources "$sources" "$part" |
        jq -r 'to_entries[] | select(.value.result | IN("warn", "error", "fatal")) | "\(.value.result) \(.key)"')
    if command -v lint_pkix_cert >/dev/null; then
        # One-label names and underscores are refused by design there: container names have both (D17).
        pki=$(lint_pkix_cert lint -s ERROR -f JSON "$part" |
            jq -r '.results[].finding_descriptions[]? | select(.code | test("invalid_domain_name") | not) | "error \(.code)"' || true)
        findings=$(printf '%s\n%s' "$findings" "$pki" | sed '/^$/d')
    fi
    printf '%s: %s\n' "${file#"$folder"/}" "$(paste -sd ' ' <<<"${findings:-clean}")"
    if grep -qE '^(error|fatal) ' <<<"$findings"; then failed=1; fi
done <"$work/list"
exit "$failed"
