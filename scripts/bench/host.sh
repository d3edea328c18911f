# shellcheck shell=bash
# For soak.sh and rotation.sh: the whole warden with the real temporal-server on SQLite, without Docker. Sourced, not run.
#
# Sets FOLDER, PORT, VENV and OUTPUT; `warden` is the process id once it serves. SOAK_BIN names the program, else the debug build is
# made; SOAK_KEEP=1 keeps the folder. Needs root (children run as users of their own) and the programs of scripts/dev/images.sh.

readonly PORT=${SOAK_PORT:-17299}
readonly BINARY=${SOAK_BIN:-${CARGO_TARGET_DIR:-target}/debug/temporal-warden}
readonly PROGRAMS=${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden/images
readonly VENV=${SOAK_VENV:-/var/tmp/warden-soak-venv}
FOLDER=$(mktemp -d /var/tmp/warden-soak.XXXXXX)
readonly FOLDER OUTPUT=$FOLDER/warden.log

step() { printf '\033[36m==>\033[0m %s %s\n' "$(date +%T)" "$*" >&2; }
die() { [ ! -f "$OUTPUT" ] || tail -n 30 "$OUTPUT" >&2; printf '\033[31m==>\033[0m %s\n' "$*" >&2; exit 1; }

warden='' outer='' watcher=''
# shellcheck disable=SC2317  # run by the trap
cleanup() {
  [ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true
  [ -z "$warden" ] || kill -TERM "$warden" 2>/dev/null || true
  [ -z "$outer" ] || wait "$outer" 2>/dev/null || true
  if [ -n "${SOAK_KEEP:-}" ]; then step "kept: $FOLDER"; else rm -rf "$FOLDER"; fi
}
trap cleanup EXIT

[ -x "$PROGRAMS/temporal-server" ] || die "no temporal-server in $PROGRAMS: scripts/dev/images.sh puts it there"
[ -n "${SOAK_BIN:-}" ] || cargo build --locked --quiet
[ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
"$VENV/bin/pip" install --quiet --disable-pip-version-check "$(grep '^temporalio' examples/fastapi/requirements.txt)"

chmod 0755 "$FOLDER"
install -d -m 0755 "$FOLDER"/{bin,certs,published,published/client,published/worker,run,log}
install -d -m 0750 -o 1000 -g 1000 "$FOLDER/data"
install -m 0755 "$BINARY" "$FOLDER/bin/temporal-warden"
for script in generate-certs.sh generate-jwt-tokens.sh; do
  sed "s|/usr/local/bin/|$FOLDER/bin/|" "scripts/$script" >"$FOLDER/bin/$script"
  chmod 0755 "$FOLDER/bin/$script"
done
install -m 0755 "$PROGRAMS"/{temporal-server,temporal-sql-tool,temporal} "$FOLDER/bin/"

export WARDEN_ENGINE=server DB=sqlite WARDEN_LISTEN=127.0.0.1:$PORT WARDEN_METRICS_LISTEN=127.0.0.1:$((PORT + 1)) \
  WARDEN_CERTS_DIR=$FOLDER/certs WARDEN_PUBLISH_DIR=$FOLDER/published WARDEN_RUNTIME_DIR=$FOLDER/run \
  WARDEN_DATA_DIR=$FOLDER/data WARDEN_AUDIT_FILE=$FOLDER/log/audit.jsonl WARDEN_TEMPORAL_SERVER=$FOLDER/bin/temporal-server \
  WARDEN_TEMPORAL_SQL_TOOL=$FOLDER/bin/temporal-sql-tool WARDEN_TEMPORAL_CLI=$FOLDER/bin/temporal

healthy() {
  curl --silent --fail --max-time 2 --cert "$FOLDER/certs/temporal-client.crt" --key "$FOLDER/certs/temporal-client.key" \
    --cacert "$FOLDER/certs/ca.crt" "https://localhost:$PORT/health" >/dev/null
}

# start_warden: returns when it serves. The folders of two bundles are mounts, so that they are published.
start_warden() {
  # shellcheck disable=SC2016  # for the inner shell
  unshare --pid --fork --kill-child --mount-proc sh -c '
    for bundle in client worker; do mount --bind "$WARDEN_PUBLISH_DIR/$bundle" "$WARDEN_PUBLISH_DIR/$bundle"; done
    exec "$0" run' "$FOLDER/bin/temporal-warden" </dev/null >"$OUTPUT" 2>&1 &
  outer=$!
  for _ in $(seq 600); do
    warden=$(pgrep -P "$outer" || true)
    if [ -n "$warden" ] && healthy 2>/dev/null; then break; fi
    kill -0 "$outer" 2>/dev/null || die 'the warden stopped'
    sleep 0.2
  done
  healthy || die 'not healthy within 2 min'
}
