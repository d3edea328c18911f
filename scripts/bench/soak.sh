#!/usr/bin/env bash
# Ten minutes of a Python SDK worker and client through GOAWAYs, kills of the gateway and kills of Temporal: no workflow
# may fail or get lost. The real temporal-server on SQLite behind `temporal-warden run`, without Docker.
#
#   scripts/bench/soak.sh [SECONDS [WORKFLOWS_PER_SECOND]]      600 and 4
#
# Every connection to Temporal is ended after 5 s (frontend.keepAliveMaxConnectionAge). SOAK_KILLS=no kills nothing: then no
# call may end UNAVAILABLE, not even one that the SDK tries again. What it needs is in host.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly SECONDS_LONG=${1:-600} RATE=${2:-4}
# shellcheck source=scripts/bench/host.sh
. scripts/bench/host.sh

# Children of the warden by command line: they live in its PID namespace, and are seen from here.
child() { pgrep -P "$warden" -f -- "$1" | head -n 1; }

printf 'frontend.keepAliveMaxConnectionAge:\n  - value: 5s\n' >"$FOLDER/dynamic.yaml"
export WARDEN_DYNAMIC_CONFIG_FILE=$FOLDER/dynamic.yaml
start_warden

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
