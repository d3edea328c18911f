#!/usr/bin/env bash
# Measures the gateway beside HAProxy and nginx: same backend, same load, same run; what counts are the ratios.
#
#   scripts/bench/gateway.sh            everything, about six minutes (as root; installs haproxy and nginx where missing)
#   BENCH_BIN=… scripts/bench/gateway.sh   measures that program instead of building the static release
#   ONLY=load,polls scripts/bench/gateway.sh  some parts: load, polls, goaway, restart, crash, reload
#   WAYS='direct warden' scripts/bench/gateway.sh  without the peers
#   KEEP=DIR scripts/bench/gateway.sh   leaves results.jsonl and the logs there
#
# docs/benchmarks.md explains each line of the table it prints.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
readonly here root WAYS=${WAYS:-direct warden haproxy haproxy-jwt nginx} PARTS=${ONLY:-load,polls,goaway,restart,crash,reload} ROUNDS=${ROUNDS:-2} SECONDS_EACH=${SECONDS_EACH:-4}
readonly BACKEND=17001 WARDEN=17101 HAPROXY=17102 HAPROXY_JWT=17103 NGINX=17104 METRICS=17105
declare -A port=([direct]=$BACKEND [warden]=$WARDEN [haproxy]=$HAPROXY [haproxy-jwt]=$HAPROXY_JWT [nginx]=$NGINX) pid=()

say() { printf '\033[36m[bench]\033[0m %s\n' "$*" >&2; }
die() { printf '\033[31m[bench]\033[0m %s\n' "$*" >&2; exit 1; }
has() { [[ ,$PARTS, == *,$1,* ]]; }
# ways NAME...: those of these that are measured.
ways() { local name; for name in "$@"; do [[ " $WAYS " != *" $name "* ]] || printf '%s\n' "$name"; done; }

[ "$(id -u)" = 0 ] || die 'run it as root: HAProxy, nginx and the gateway read keys that only root may read'
"$root/scripts/dev/install.sh" tools build
if ! command -v haproxy >/dev/null || ! command -v nginx >/dev/null; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends haproxy nginx; } >/dev/null
fi
command -v go >/dev/null || PATH=$PATH:${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden/go/bin
command -v go >/dev/null || die 'no Go: scripts/dev/install.sh images brings one'
# nginx holds 10,000 descriptors for 5,000 polls.
ulimit -n "$(ulimit -Hn)"

work=${KEEP:-$(mktemp -d)}
mkdir -p "$work/published"
chmod 755 "$work"
work=$(cd "$work" && pwd)
results=$work/results.jsonl
: >"$results"

# Only what was started here is ended, children first.
ended() {
  local each
  for each in "${!pid[@]}"; do stop "$each" 2>/dev/null || true; done
  [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap ended EXIT

stop() {
  kill "${pid[$1]}" 2>/dev/null || return 0
  wait "${pid[$1]}" 2>/dev/null || true
  unset "pid[$1]"
}

# family PID: it and everything below it, with commas.
family() {
  local all=$1 child
  for child in $(pgrep -P "$1" || true); do all+=,$(family "$child"); done
  printf %s "$all"
}

listening() {
  for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
    sleep 0.1
  done
  die "nothing listens on port $1; see $work"
}

say 'building'
(cd "$here/load" && go build -o "$work/bench" .)
# shellcheck source=scripts/bench/program.sh
. "$here/program.sh"
install -m 0755 "$warden" "$work/temporal-warden"

# One set of certificates and tokens for everybody: the warden's own.
export WARDEN_CERTS_DIR=$work/certs WARDEN_PUBLISH_DIR=$work/published WARDEN_RUNTIME_DIR=$work/run
export WARDEN_LISTEN=127.0.0.1:$WARDEN WARDEN_METRICS_LISTEN=127.0.0.1:$METRICS WARDEN_AUDIT_FILE=$work/audit/audit.jsonl
WARDEN_ENGINE=dev "$work/temporal-warden" init >"$work/init.log" 2>&1 || die "init failed: $(tail -3 "$work/init.log")"
# Copies: the warden's own change during the measurement of reloads, the peers' must not.
cp -rL "$work/certs" "$work/fixed"
cat "$work"/fixed/temporal-server.{crt,key} >"$work/server.pem"
cat "$work"/fixed/temporal-client.{crt,key} >"$work/client.pem"
readonly FIXED=$work/fixed
client=(-cert "$FIXED/temporal-client.crt" -key "$FIXED/temporal-client.key" -ca "$FIXED/ca.crt" -token "$FIXED/client-token.jwt")

start_backend() {
  "$work/bench" echo -listen 127.0.0.1:$BACKEND -cert "$FIXED/temporal-server.crt" -key "$FIXED/temporal-server.key" \
    -ca "$FIXED/ca.crt" "$@" >>"$work/backend.log" 2>&1 &
  pid[direct]=$!
  listening $BACKEND
}

export WARDEN_ENGINE=external WARDEN_UPSTREAM=127.0.0.1:$BACKEND WARDEN_UPSTREAM_TLS_CA=$FIXED/ca.crt
export WARDEN_UPSTREAM_TLS_CERT=$FIXED/temporal-client.crt WARDEN_UPSTREAM_TLS_KEY=$FIXED/temporal-client.key
export WARDEN_UPSTREAM_TLS_SERVER_NAME=temporal
start_warden() {
  "$work/temporal-warden" run >>"$work/warden.log" 2>&1 &
  pid[warden]=$!
  for _ in $(seq 100); do
    "$work/temporal-warden" healthcheck >/dev/null 2>&1 && return
    sleep 0.1
  done
  die "the warden does not serve: $(tail -5 "$work/warden.log")"
}

# filled TEMPLATE ROLE PORT LOGGING RULES
filled() {
  local text
  text=$(<"$here/$1")
  text=${text//LOGGING/$4} text=${text//RULES/$5} text=${text//ROLE/$2} text=${text//PORT/$3}
  text=${text//BACKEND/$BACKEND} text=${text//WORK\/certs/$FIXED} text=${text//WORK/$work}
  printf '%s\n' "$text" >"$work/$2.cfg"
}

readonly JWT_RULES="http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('\$.alg')
  http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('\$.iss')
  http-request set-var(txn.sub) var(txn.bearer),jwt_payload_query('\$.sub')
  http-request set-var(txn.scope) var(txn.bearer),jwt_payload_query('\$.scope')
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('\$.exp','int')
  http-request set-var(txn.left) date(),neg,add(txn.exp)
  http-request deny deny_status 401 unless { var(txn.alg) -m str ES256 }
  http-request deny deny_status 401 unless { var(txn.bearer),jwt_verify(txn.alg,\"WORK/certs/temporal-jwt-public.key\") 1 }
  http-request deny deny_status 401 unless { var(txn.iss) -m str temporal-warden }
  http-request deny deny_status 401 if { var(txn.left) -m int lt 0 }
  http-request deny deny_status 403 unless { path_beg /temporal.api.workflowservice. } { var(txn.scope) -m sub temporal- }
  log-format \"%t %ci:%cp %[var(txn.sub)] %[var(txn.scope)] %HM %HP %ST %B %Ta\""

start_peers() {
  filled haproxy.cfg haproxy $HAPROXY '' ''
  haproxy -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
  pid[haproxy]=$!
  filled haproxy.cfg haproxy-jwt $HAPROXY_JWT 'log stdout format raw local0' "$JWT_RULES"
  haproxy -f "$work/haproxy-jwt.cfg" >"$work/haproxy-jwt.log" 2>&1 &
  pid[haproxy-jwt]=$!
  filled nginx.conf nginx $NGINX '' ''
  nginx -c "$work/nginx.cfg" >"$work/nginx-start.log" 2>&1 &
  pid[nginx]=$!
  listening $HAPROXY; listening $HAPROXY_JWT; listening $NGINX
}

# measure COMMAND NAME ARGS…: one line into the results.
measure() {
  local command=$1 name=$2
  shift 2
  "$work/bench" "$command" -name "$name" -target "127.0.0.1:${port[$name]}" -pids "$(family "${pid[$name]}")" \
    "${client[@]}" "$@" >>"$results" || say "$command $name failed"
}

# parked NAME COUNT: long polls on 50 connections; workers poll, so they bring a worker's token.
parked() {
  measure poll "$1" -token "$FIXED/worker-token.jwt" -count "$2" -connections 50 -duration 4s -upstream 127.0.0.1:$BACKEND
}

start_backend
start_warden
[ -z "$(ways haproxy haproxy-jwt nginx)" ] || start_peers
say 'idle memory'
sleep 2
for name in $(ways warden haproxy haproxy-jwt nginx); do
  measure poll "$name" -count 0 -connections 0 -duration 1s -upstream 127.0.0.1:$BACKEND
done

if has load; then
  for round in $(seq "$ROUNDS"); do
    for name in $(ways direct warden haproxy haproxy-jwt nginx); do
      say "load, round $round: $name"
      measure load "$name" -kind saturated -connections 50 -inflight 10 -duration "${SECONDS_EACH}s"
      measure load "$name" -kind few -connections 8 -inflight 16 -duration "${SECONDS_EACH}s"
      measure load "$name" -kind one -connections 1 -inflight 1 -duration 2s
      measure load "$name" -kind rate3000 -connections 8 -rate 3000 -duration "${SECONDS_EACH}s"
    done
  done
fi

if has polls; then
  say 'parked polls'
  for name in $(ways warden haproxy nginx); do
    parked "$name" 5000
  done
  # Anew: what 5,000 polls left behind is not to be counted for 10,000.
  stop warden
  start_warden
  sleep 2
  parked warden 10000
fi

if has goaway; then
  say 'GOAWAY every 2 s at 1,000 calls/s'
  stop direct
  start_backend -max-age 2s
  sleep 2
  for name in $(ways warden haproxy nginx); do measure load "$name" -kind goaway -connections 4 -rate 1000 -duration 10s; done
  stop direct
  start_backend
  sleep 1
fi

if has restart; then
  for name in $(ways warden haproxy nginx); do
    say "upstream killed and started within 1 s at 500 calls/s: $name"
    measure load "$name" -kind restart -connections 4 -rate 500 -duration 5s &
    loading=$!
    sleep 1.5
    kill -KILL "${pid[direct]}"
    wait "${pid[direct]}" 2>/dev/null || true
    sleep 0.7
    start_backend
    wait $loading
  done
fi

if has crash; then
  say 'gateway killed, ten times'
  for _ in $(seq 10); do
    # Anew: a gateway that dies again at once is restarted after a pause, and this is about one that was healthy.
    stop warden
    start_warden
    sleep 1
    measure crash warden -parent "${pid[warden]}"
  done
fi

if has reload; then
  say 'reloads at 1,000 calls/s'
  sleep 1
  measure load warden -kind reload -connections 4 -rate 1000 -duration 12s &
  loading=$!
  sleep 1
  measure reload warden -change certificates -until serial "$work/temporal-warden" cert generate
  # The load trusts the first CA only: the chain carries the cross-signed certificate.
  if "$work/temporal-warden" cert generate --help | grep -q -- --rotate-ca; then
    measure reload warden -change trust -until serial "$work/temporal-warden" cert generate --rotate-ca
  fi
  if "$work/temporal-warden" token revoke --help >/dev/null 2>&1; then
    # The worker's token: that of the load stays good.
    measure reload warden -change revocation -until refused -token "$FIXED/worker-token.jwt" \
      "$work/temporal-warden" token revoke "$FIXED/worker-token.jwt"
  fi
  wait $loading
fi

say "results in $results"
"$work/bench" table "$results"
