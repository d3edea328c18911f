#!/usr/bin/env bash
# The production stack (docker-compose.prod.yml) on this machine, online or offline.
#
#   scripts/dev/stack.sh up           build what is missing, start, wait until every service is healthy
#   scripts/dev/stack.sh down [-v]    stop and remove; -v also removes the volumes: keys, tokens and data
#   scripts/dev/stack.sh logs …, exec …, ps, restart …   as in docker-compose
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly IMAGE=${WARDEN_IMAGE:-temporal-warden:latest} APP=${APP_IMAGE:-temporal-warden-example:latest}
readonly HEALTHY_WITHIN=${HEALTHY_WITHIN:-240}

say() { printf '\033[36m[stack]\033[0m %s\n' "$*" >&2; }
die() { printf '\033[31m[stack]\033[0m %s\n' "$*" >&2; exit 1; }

compose() {
  if [ -n "${DOCKER_COMPOSE:-}" ]; then
    "$DOCKER_COMPOSE" -f docker-compose.prod.yml "$@"
  elif command -v docker-compose >/dev/null; then
    docker-compose -f docker-compose.prod.yml "$@"
  else
    docker compose -f docker-compose.prod.yml "$@"
  fi
}

build() {
  scripts/dev/install.sh docker
  scripts/dev/images.sh
  say "building $IMAGE (the first time compiles every dependency: several minutes)"
  quietly docker build -t "$IMAGE" .
  say "building $APP"
  quietly docker build -t "$APP" examples/fastapi
}

# quietly COMMAND...: its output only when it fails.
quietly() {
  local log; log=$(mktemp)
  "$@" >"$log" 2>&1 || { cat "$log" >&2; die "failed: $*"; }
  rm -f "$log"
}

up() {
  build
  local began=$SECONDS
  compose up -d --no-build "$@" || { compose logs --tail 50 temporal >&2; die 'the stack did not start: the log of temporal is above'; }
  wait_healthy
  say "healthy after $((SECONDS - began)) s"
  docker ps --filter "label=com.docker.compose.project.working_dir=$PWD" --format 'table {{.Names}}\t{{.Status}}\t{{.Ports}}'
  cat >&2 <<'TEXT'

  FastAPI   curl -s -X POST localhost:8000/jobs -H 'content-type: application/json' -d '{"data": "hello"}'
  CLI       docker exec -it app_data_temporal_server bash
            temporal workflow list --auth-token-file /etc/temporal/certs/client-token.jwt
  stop      scripts/dev/stack.sh down        (down -v forgets keys and data)
TEXT
}

wait_healthy() {
  local until=$((SECONDS + HEALTHY_WITHIN)) waiting
  while :; do
    waiting=$(compose ps -q | xargs -r docker inspect --format '{{.Name}} {{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' \
      | grep -Ev ' (healthy)$' | tr -d / || true)
    [ -n "$waiting" ] || return 0
    if [ "$SECONDS" -ge "$until" ]; then
      local name
      while read -r name _; do docker logs --tail 30 "$name" 2>&1 | cut -c1-300 >&2; done <<<"$waiting"
      die "not healthy after $HEALTHY_WITHIN s: ${waiting//$'\n'/, } (the end of each log is above)"
    fi
    sleep 1
  done
}

command=${1:-help}
shift || true
case $command in
  up) up "$@" ;;
  build) build ;;
  down) compose down --remove-orphans "$@" ;;
  help | -h | --help) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
  *) compose "$command" "$@" ;;
esac
