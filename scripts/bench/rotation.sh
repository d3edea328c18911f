#!/usr/bin/env bash
# Everything rotates while Python SDK clients and workers call without a pause: leaf certificates, tokens, the signing key and the
# CA one after the other, then all at once, then generate-certs.sh twice in parallel. No call may fail, not even once.
#
#   scripts/bench/rotation.sh [CALLS]      at least so many calls; 20000
#
# The real temporal-server on SQLite behind `temporal-warden run`, without Docker. Needs root (children run as users of their
# own) and the programs of scripts/dev/images.sh. SOAK_BIN names the binary; ROTATE=no rotates nothing: how long calls
# wait on this machine anyway.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly CALLS=${1:-20000}
# shellcheck source=scripts/bench/host.sh
. scripts/bench/host.sh
start_warden

step "at least $CALLS calls"
status=0 begin=$(date -u +%FT%TZ)
PATH=$FOLDER/bin:$PATH "$VENV/bin/python" scripts/bench/rotation.py --address "127.0.0.1:$PORT" --published "$FOLDER/published" \
  --calls "$CALLS" --rotate "${ROTATE:-yes}" || status=$?
[ "$status" = 0 ] || tail -n 40 "$OUTPUT" >&2

step 'what the gateway answered, by gRPC status: all calls, those of the workers too; and the chain of its log'
"$VENV/bin/python" - "$FOLDER/log/audit.jsonl" "$begin" <<'PYTHON' || status=1
import collections, json, sys
records = [r for r in map(json.loads, open(sys.argv[1])) if r["writer"] == "gateway" and r["time"] > sys.argv[2]]
print(dict(collections.Counter(str(r.get("grpc_status")) for r in records)))
# 1: a poll that its worker gave up at its end.
bad = [r for r in records if r.get("grpc_status") not in (0, 1)]
for record in bad[:20]:
    print({name: record.get(name) for name in ("time", "method", "grpc_status", "reason", "principal")})
sys.exit(bool(bad))
PYTHON
"$FOLDER/bin/temporal-warden" audit verify >&2 || status=1
exit "$status"
