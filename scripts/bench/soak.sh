#!/usr/bin/env bash
# Ten minutes of a Python SDK worker and client through GOAWAYs, kills of the gateway and kills of Temporal: no workflow
# may fail or get lost. The real temporal-server on SQLite behind `temporal-warden run`, without Docker.
#
#   scripts/bench/soak.sh [SECONDS [WORKFLOWS_PER_SECOND]]      600 and 4
#
# Needs root (children run as users of their own) and the programs of scripts/dev/images.sh. Every connection to
# Temporal is ended after 5 s (frontend.keepAliveMaxConnectionAge). SOAK_BIN names the binary; SOAK_KILLS=no kills nothing: then no call may end
# UNAVAILABLE, not even one that the SDK tries again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly SECONDS_LONG=${1:-600} RATE=${2:-4} PORT=${SOAK_PORT:-17299}
readonly BINARY=${SOAK_BIN:-target/debug/temporal-warden}
readonly PROGRAMS=${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden/images
readonly VENV=${SOAK_VENV:-/var/tmp/warden-soak-venv}
FOLDER=$(mktemp -d /var/tmp/warden-soak.XXXXXX)
readonly FOLDER OUTPUT=$FOLDER/warden.log

step() { printf '\033[36m==>\033[0m %s %s\n' "$(date +%T)" "$*" >&2; }
die() { tail -n 30 "$OUTPUT" >&2; printf '\033[31m==>\033[0m %s\n' "$*" >&2; exit 1; }

# Children of the warden by command line: they live in its PID namespace, and are seen from here.
child() { pgrep -P "$warden" -f -- "$1" | head -n 1; }

warden='' outer='' watcher=''
# shellcheck disable=SC2317  # run by the trap
cleanup() {
  [ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true
  [ -z "$warden" ] || kill -TERM "$warden" 2>/dev/null || true
  [ -z "$outer" ] || wait "$outer" 2>/dev/null || true
  if [ -n "${SOAK_KEEP:-}" ]; then step "kept: $FOLDER"; else rm -rf "$FOLDER"; fi
}
trap cleanup EXIT

[ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
"$VENV/bin/pip" install --quiet --disable-pip-version-check "$(grep '^temporalio' examples/fastapi/requirements.txt)"

chmod 0755 "$FOLDER"
install -d -m 0755 "$FOLDER"/{bin,certs,published,run,log}
install -d -m 0750 -o 1000 -g 1000 "$FOLDER/data"
install -m 0755 "$BINARY" "$FOLDER/bin/temporal-warden"
install -m 0755 "$PROGRAMS"/{temporal-server,temporal-sql-tool,temporal} "$FOLDER/bin/"
printf 'frontend.keepAliveMaxConnectionAge:\n  - value: 5s\n' >"$FOLDER/dynamic.yaml"

export WARDEN_ENGINE=server DB=sqlite WARDEN_LISTEN=127.0.0.1:$PORT WARDEN_METRICS_LISTEN=127.0.0.1:$((PORT + 1)) \
  WARDEN_CERTS_DIR=$FOLDER/certs WARDEN_PUBLISH_DIR=$FOLDER/published WARDEN_RUNTIME_DIR=$FOLDER/run \
  WARDEN_DATA_DIR=$FOLDER/data WARDEN_AUDIT_FILE=$FOLDER/log/audit.jsonl WARDEN_TEMPORAL_SERVER=$FOLDER/bin/temporal-server \
  WARDEN_TEMPORAL_SQL_TOOL=$FOLDER/bin/temporal-sql-tool WARDEN_TEMPORAL_CLI=$FOLDER/bin/temporal \
  WARDEN_DYNAMIC_CONFIG_FILE=$FOLDER/dynamic.yaml
unshare --pid --fork --kill-child --mount-proc "$FOLDER/bin/temporal-warden" run </dev/null >"$OUTPUT" 2>&1 &
outer=$!

healthy() {
  curl --silent --fail --max-time 2 --cert "$FOLDER/certs/temporal-client.crt" --key "$FOLDER/certs/temporal-client.key" \
    --cacert "$FOLDER/certs/ca.crt" "https://localhost:$PORT/health" >/dev/null
}
for _ in $(seq 600); do
  warden=$(pgrep -P "$outer" || true)
  if [ -n "$warden" ] && healthy 2>/dev/null; then break; fi
  kill -0 "$outer" 2>/dev/null || die 'the warden stopped'
  sleep 0.2
done
healthy || die 'not healthy within 2 min'

# kill_one NAME PATTERN: SIGKILL, and how long until /health is good again. The probe behind it runs every few seconds:
# a kill of Temporal is not seen at once.
kill_one() {
  local pid start; pid=$(child "$2") || { step "no $1 to kill"; return; }
  kill -KILL "$pid"
  start=$(date +%s%N)
  if [ "$1" = temporal ]; then sleep 5; fi
  until [ "$(child "$2")" ] && healthy 2>/dev/null; do sleep 0.02; done
  step "$1 $pid killed; healthy $((($(date +%s%N) - start) / 1000000)) ms later"
}

# Connections between gateway and frontend, by their local ports: each GOAWAY means a new one.
connections() {
  while sleep 1; do ss -Htnp state established 2>/dev/null | awk -v pid="pid=$(child ' gateway'),fd" \
    'index($0, pid) && $3 ~ /127\.0\.0\.1:/ && $4 !~ /:'"$PORT"'$/ && $3 !~ /:'"$PORT"'$/ {print $3}'; done >>"$FOLDER/ports"
}

# In each tenth of the run one kill, in turn: gateway, Temporal.
events() {
  [ "${SOAK_KILLS:-yes}" = yes ] || return 0
  local what=gateway
  for _ in 1 2 3 4 5 6 7 8; do
    sleep $((SECONDS_LONG / 10))
    if [ "$what" = gateway ]; then kill_one gateway ' gateway$'; what=temporal; else kill_one temporal 'temporal-server'; what=gateway; fi
  done
}

step "$SECONDS_LONG s at $RATE workflows a second"
connections &
watcher=$!
events &
killer=$!
status=0
"$VENV/bin/python" scripts/bench/soak.py --address "localhost:$PORT" --certs "$FOLDER/certs" --seconds "$SECONDS_LONG" \
  --rate "$RATE" || status=$?
wait "$killer"

step 'the audit log: operations by gRPC status, and its chain'
"$VENV/bin/python" - "$FOLDER/log/audit.jsonl" "${SOAK_KILLS:-yes}" <<'PYTHON' || status=1
import collections, json, sys
records = [json.loads(line) for line in open(sys.argv[1])]
ends = collections.Counter(str(r.get("grpc_status")) for r in records if r["writer"] == "gateway")
print(ends)
sys.exit(ends["14"] > 0 and sys.argv[2] == "no")
PYTHON
"$FOLDER/bin/temporal-warden" audit verify || status=1
step "connections to the frontend: $(sort -u "$FOLDER/ports" | wc -l) (one in 5 s and worker means: GOAWAY was followed)"
exit "$status"
