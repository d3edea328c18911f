#!/usr/bin/env bash
# The pictures of docs/images, from a stack that runs (scripts/dev/stack.sh up): look at each before you commit it.
#
#   scripts/dev/screenshots.sh            all of them
#   scripts/dev/screenshots.sh status     `temporal-warden status` on a terminal: its own colours
#   scripts/dev/screenshots.sh ui         Temporal's web UI, by its test in headless Chromium (tests/e2e/test_08_ui.py)
#   scripts/dev/screenshots.sh dashboard  examples/monitoring: the panels' own expressions, drawn without Grafana
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly PICTURES=$PWD/docs/images VENV=${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden/e2e SECONDS_OF_LOAD=${SECONDS_OF_LOAD:-150}

compose() { "${DOCKER_COMPOSE:-docker-compose}" -f docker-compose.prod.yml "$@"; }
monitored() { compose -f examples/monitoring/docker-compose.yml "$@"; }

status() {
  # `script` is the terminal: what a person sees who types this, escape sequences and all.
  script -qec 'docker exec -t app_data_temporal_server temporal-warden status' /dev/null \
    | "$VENV/bin/python" scripts/dev/terminal.py 'docker exec -t app_data_temporal_server temporal-warden status' "$PICTURES/status.png"
}

ui() { E2E_KEEP=1 SCREENSHOTS=$PICTURES "$VENV/bin/pytest" -p no:cacheprovider -q tests/e2e/test_08_ui.py; }

dashboard() {
  scripts/dev/images.sh monitoring
  monitored up -d --no-build temporal prometheus
  healthy
  load
  "$VENV/bin/python" scripts/dev/dashboard.py "$PICTURES/dashboard.png"
  monitored rm --stop --force -v prometheus
  compose up -d --no-build temporal
  healthy
}

healthy() { until [ "$(docker inspect -f '{{.State.Health.Status}}' app_data_temporal_server)" = healthy ]; do sleep 1; done; }

# What a small application does, and what a scanner and a mistaken client do now and then.
load() {
  local until=$((SECONDS + SECONDS_OF_LOAD)) n=0
  while [ "$SECONDS" -lt "$until" ]; do
    n=$((n + 1))
    curl -s -o /dev/null -X POST localhost:8000/jobs -H 'content-type: application/json' -d "{\"data\": \"order $n\"}" || true
    [ $((n % 20)) -ne 0 ] || curl -sk -o /dev/null https://localhost:7233/ || true
    [ $((n % 30)) -ne 0 ] || docker exec app_data_temporal_server temporal namespace create orders \
      --auth-token-file /etc/temporal/certs/client-token.jwt >/dev/null 2>&1 || true
    sleep 0.5
  done
}

# 256 colours are enough, and a third of the bytes.
shrink() {
  "$VENV/bin/python" - "$PICTURES"/*.png <<'PYTHON'
import sys
from PIL import Image

for path in sys.argv[1:]:
    picture = Image.open(path)
    if picture.mode != "P":
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
PYTHON
}

prepare() {
  scripts/dev/install.sh python browser
  [ -x "$VENV/bin/pip" ] || python3 -m venv "$VENV"
  "$VENV/bin/pip" install --quiet --disable-pip-version-check -r tests/e2e/requirements.txt 'ansi2html==1.9.5' pillow
  mkdir -p "$PICTURES"
}

case ${1:-all} in
  status | ui | dashboard) prepare; "$1"; shrink ;;
  all) prepare; status; ui; dashboard; shrink ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; case $1 in -h | --help) exit 0 ;; *) exit 2 ;; esac ;;
esac
