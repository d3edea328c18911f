#!/usr/bin/env bash
# Works PID 1 and its gateway hard for a while and prints what they hold meanwhile: nothing may grow.
#
#   scripts/bench/memory.sh              two minutes, in six steps (as root)
#   MINUTES=60 scripts/bench/memory.sh   an hour in steps of 10 minutes; docs/benchmarks.md has the figures
#   BENCH_BIN=… scripts/bench/memory.sh   measures that program instead of building the static release
#   CALLS=20 scripts/bench/memory.sh   calls a second through the gateway
#
# Each of three wardens is the PID 1 of a namespace. `run -- COMMAND`: a command that makes orphans, prints lines and is
# sent signals. `crashing`: a full warden whose gateway is killed every few seconds. `working`: a full warden with calls
# through its gateway, reloads, rotations of everything, retirements, status calls, orphans and a log line per call.
# Exit 1 if private memory at the end is more than a quarter, and more than 1 MiB, above that of the first line.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
readonly here root BACKEND=17011 WORKING=17111 CRASHING=17112 CALLS=${CALLS:-20}
LONG=$((${MINUTES:-2} * 60))
EVERY=$((LONG <= 3600 ? LONG / 6 : 600))
readonly LONG EVERY

say() { printf '\033[36m[bench]\033[0m %s\n' "$*" >&2; }
die() { printf '\033[31m[bench]\033[0m %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die 'run it as root: it makes PID namespaces'
"$root/scripts/dev/install.sh" build
command -v go >/dev/null || PATH=$PATH:${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden/go/bin
command -v go >/dev/null || die 'no Go: scripts/dev/install.sh images brings one'

work=$(mktemp -d)
chmod 0755 "$work"
declare -a started=()
# shellcheck disable=SC2317  # run by the trap
ended() {
  local each
  trap - EXIT
  for each in "${started[@]}"; do kill "$each" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap ended EXIT

say 'building'
(cd "$here/load" && go build -o "$work/bench" .)
# shellcheck source=scripts/bench/program.sh
. "$here/program.sh"
install -m 0755 "$warden" "$work/temporal-warden"

# settings NAME PORT: the environment of one of the full wardens. The failures of a child that is killed all the time are
# not to end it.
settings() {
  environment=(
    WARDEN_ENGINE=external "WARDEN_UPSTREAM=127.0.0.1:$BACKEND" "WARDEN_UPSTREAM_TLS_CA=$work/fixed/ca.crt"
    "WARDEN_UPSTREAM_TLS_CERT=$work/fixed/temporal-client.crt" "WARDEN_UPSTREAM_TLS_KEY=$work/fixed/temporal-client.key"
    WARDEN_UPSTREAM_TLS_SERVER_NAME=temporal "WARDEN_LISTEN=127.0.0.1:$2" WARDEN_METRICS_LISTEN=127.0.0.1:0
    "WARDEN_RUNTIME_DIR=$work/$1/run" "WARDEN_CERTS_DIR=$work/$1/certs" "WARDEN_PUBLISH_DIR=$work/$1/published"
    "WARDEN_DATA_DIR=$work/$1/data" "WARDEN_AUDIT_FILE=$work/$1/audit/audit.jsonl" WARDEN_AUDIT_STDOUT=true
    WARDEN_AUDIT_MAX_SIZE=8MiB WARDEN_START_LIMIT=1000 WARDEN_START_WINDOW=60s WARDEN_BACKOFF_CAP=1s
  )
}

# as_init COMMAND…: as PID 1 of a namespace; `init` is its pid here, and what to end: unshare hears no SIGTERM.
as_init() {
  unshare --pid --fork --kill-child --mount-proc "$@" </dev/null &
  outer=$!
  init=''
  for _ in $(seq 600); do
    init=$(pgrep -P "$outer" || true)
    if [ -n "$init" ]; then started+=("$init"); return 0; fi
    sleep 0.1
  done
  die "$1 did not start"
}

# The first set is the backend's and the way to it, and does not change.
env WARDEN_ENGINE=dev WARDEN_CERTS_DIR="$work/fixed" WARDEN_PUBLISH_DIR="$work/none" "$work/temporal-warden" init >"$work/init.log" 2>&1 ||
  die "init failed: $(tail -n 3 "$work/init.log")"
"$work/bench" echo -listen 127.0.0.1:$BACKEND -cert "$work/fixed/temporal-server.crt" -key "$work/fixed/temporal-server.key" \
  -ca "$work/fixed/ca.crt" >"$work/backend.log" 2>&1 &
started+=($!)

# A command that leaves orphans and lines, and hears signals without ending.
cat >"$work/command" <<'COMMAND'
#!/bin/bash
trap : HUP USR1 USR2 WINCH
while :; do
  for _ in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.2 &) ; done
  echo "a line, and $RANDOM more"
  sleep 1
done
COMMAND
chmod 0755 "$work/command"
as_init "$work/temporal-warden" run -- "$work/command" >"$work/run.log" 2>&1
run=$init

working='' crashing=''
for each in "working $WORKING" "crashing $CRASHING"; do
  read -r name port <<<"$each"
  mkdir -p "$work/$name/data"
  settings "$name" "$port"
  # A set of its own beside that of the way upstream: this one is rotated.
  as_init env "${environment[@]}" "$work/temporal-warden" run >"$work/$name.log" 2>&1
  if [ "$name" = working ]; then working=$init; else crashing=$init; fi
  for _ in $(seq 600); do
    ! env "${environment[@]}" "$work/temporal-warden" healthcheck >/dev/null 2>&1 || continue 2
    sleep 0.1
  done
  die "$name does not serve: $(tail -n 5 "$work/$name.log")"
done
gateway=$(pgrep -P "$working" | head -n 1)

# ask ARGS…: of the warden that works. Both commands and calls may fail while things change under them.
ask() { env "${environment[@]}" "$work/temporal-warden" "$@" >>"$work/asked.log" 2>&1 || echo "failed: $*" >>"$work/asked.log"; }
settings working "$WORKING"

calls() {
  local certs=$work/working/certs
  while :; do
    # The generation may change under the copy.
    rm -rf "$work/now"
    if ! cp -rL "$certs" "$work/now" 2>/dev/null; then sleep 1; continue; fi
    "$work/bench" load -name working -kind rate -target 127.0.0.1:$WORKING -cert "$work/now/temporal-client.crt" -pids "$gateway" \
      -key "$work/now/temporal-client.key" -ca "$work/now/ca.crt" -token "$work/now/client-token.jwt" -connections 2 -rate "$CALLS" \
      -duration 10s >>"$work/calls.log" 2>&1 || sleep 1
  done
}

changes() {
  while :; do
    for change in 'cert generate' 'token generate' reload 'token generate --rotate-key' 'cert generate --rotate-ca' reload 'cert retire' 'token retire'; do
      # shellcheck disable=SC2086  # words
      ask $change
      sleep 7
    done
  done
}

# Every second something small: orphans in each namespace, signals, questions, and now and then a kill.
pinpricks() {
  local second=0 each
  while sleep 1; do
    second=$((second + 1))
    for each in HUP USR1 USR2 WINCH; do kill -s "$each" "$run"; done
    kill -s WINCH "$working"
    # shellcheck disable=SC2016  # for the inner shell
    nsenter --target "$working" --pid sh -c 'for _ in 1 2 3 4 5; do (sleep 0.2 &) ; done'
    [ $((second % 3)) != 0 ] || ask status --json
    [ $((second % 10)) != 0 ] || pkill -KILL -P "$crashing" || true
  done
}

calls & started+=($!)
changes & started+=($!)
pinpricks & started+=($!)

# What a process holds, KiB: resident, its share, private and dirty; then threads and open descriptors.
held() {
  local memory threads
  memory=$(awk '/^(Rss|Pss|Private_Dirty):/ {printf "%8d ", $2}' "/proc/$1/smaps_rollup")
  threads=$(awk '/^Threads:/ {print $2}' "/proc/$1/status")
  printf '%s%4d %4d' "$memory" "$threads" "$(find "/proc/$1/fd" -type l | wc -l)"
}

dirty() { awk '/^Private_Dirty:/ {print $2}' "/proc/$1/smaps_rollup"; }

# grown NAME FIRST LAST: whether that is growth and not a warm-up's rest.
grown() {
  [ "$3" -gt $(($2 + $2 / 4)) ] && [ "$3" -gt $(($2 + 1024)) ] || return 0
  say "$1 grew: $2 -> $3 KiB private and dirty"
  failed=1
}

printf '%6s  %-24s %8s %8s %8s %4s %4s\n' s process RSS PSS dirty thr fds
declare -A first=()
failed=0
# The first line after a warm-up: what is touched once is there for good.
sleep 10
for ((at = 0; at <= LONG; at += EVERY)); do
  for each in "run $run" "working $working" "working's-gateway $gateway" "crashing $crashing"; do
    read -r name pid <<<"$each"
    [ -d "/proc/$pid" ] || die "$name has ended: $(tail -n 5 "$work"/*.log)"
    printf '%6d  %-24s %s\n' "$at" "$name" "$(held "$pid")"
    first[$name]=${first[$name]:-$(dirty "$pid")}
    [ "$at" -lt "$LONG" ] || grown "$name" "${first[$name]}" "$(dirty "$pid")"
  done
  [ "$at" -ge "$LONG" ] || sleep "$EVERY"
done
say "calls: $(grep -c . "$work/calls.log") rounds of 10 s; asked in vain: $(grep -c '^failed' "$work/asked.log" || true);" \
  "kills: $(grep -c 'ended unasked' "$work/crashing.log"); generation $(readlink "$work/working/certs/..data")"
[ -z "${KEEP:-}" ] || cp "$work"/*.log "$KEEP"
exit $failed
