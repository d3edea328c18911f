#!/usr/bin/env bash
# A release: the static program with its manual, the image, what each is made of (SBOM), and checksums. docs/release.md explains.
#
#   scripts/release.sh            all of it, into target/dist
#   scripts/release.sh --check    the same, each built twice in different folders; fails where the two differ
#   scripts/release.sh --dry-run  says what would be made, and what is missing here to make it
#   scripts/release.sh --sbom     only the list of the program's crates
#   scripts/release.sh --sums     only the checksums of what is there
#
# --no-image leaves the image out, --target TARGET builds for another machine (aarch64-unknown-linux-musl), --sign KEY signs the
# checksums with an SSH key. The source is the last commit: what is not committed is not in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Nothing of this machine: neither its language, nor its time, nor who may read what it makes.
export LC_ALL=C TZ=UTC
umask 022

readonly NAME=temporal-warden DIST=${RELEASE_DIR:-$PWD/target/dist}
readonly TOOLS=${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden/tools
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
readonly VERSION
export SOURCE_DATE_EPOCH
PATH=$TOOLS/bin:$PATH

say() { printf '\033[36m[release]\033[0m %s\n' "$*" >&2; }
die() { printf '\033[31m[release]\033[0m %s\n' "$*" >&2; exit 1; }

# sources FOLDER: the last commit, in a folder of its own.
sources() { mkdir -p "$1" && git archive HEAD | tar -x -C "$1"; }

# program FOLDER: builds in FOLDER; prints the program's path. No path of this machine gets into it.
program() {
  local home=${CARGO_HOME:-$HOME/.cargo}
  (
    cd "$1"
    export CARGO_TARGET_DIR=$PWD/target CARGO_INCREMENTAL=0
    local profile; profile=$(scripts/pgo/flags.sh "$target")
    export RUSTFLAGS="--remap-path-prefix=$home/registry/src=/cargo --remap-path-prefix=$PWD=/build $profile"
    export CFLAGS="-ffile-prefix-map=$home/registry/src=/cargo -ffile-prefix-map=$PWD=/build"
    cross
    cargo build --release --locked --quiet --bin "$NAME" --target "$target" >&2
  )
  printf '%s\n' "$1/target/$target/release/$NAME"
}

# For another machine than this one: its linker and C compiler, by Debian's names. musl's headers are those of this machine's musl-tools:
# what they say is the same for both.
cross() {
  ! is_native || return 0
  [ "$target" = aarch64-unknown-linux-musl ] || die "no cross build for $target: aarch64-unknown-linux-musl only"
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=aarch64-linux-gnu-gcc CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc
  # The allocator takes the builder's page size for that of every kernel; 64 KiB serves all arm64 ones.
  export AARCH64_UNKNOWN_LINUX_MUSL_JEMALLOC_SYS_WITH_LG_PAGE=16
}

# bundle PROGRAM OUT: the program with manual and completions as a tar.gz, the same each time.
bundle() {
  local folder; folder=$(mktemp -d)
  local top=$folder/$NAME-$VERSION
  install -D -m 0755 "$1" "$top/$NAME"
  git show HEAD:LICENSE >"$top/LICENSE"
  git show HEAD:CHANGELOG.md >"$top/CHANGELOG.md"
  papers "$top"
  tar --sort=name --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
    --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    -C "$folder" -cf - "$NAME-$VERSION" | gzip -9n >"$2"
  rm -rf "$folder"
}

# papers FOLDER: what the program there says of itself.
papers() {
  local own=("$1/$NAME") shell
  if ! is_native; then own=("$(emulator)" "${own[@]}"); fi
  "${own[@]}" man --out "$1/man1"
  mkdir -p "$1/completions"
  for shell in bash zsh fish; do "${own[@]}" completions "$shell" >"$1/completions/$shell"; done
}

# Whether what is built runs on this machine.
is_native() { [ "$target" = "$(uname -m)-unknown-linux-musl" ]; }

# What runs a program for another machine.
emulator() {
  command -v "qemu-${target%%-*}-static" || command -v "qemu-${target%%-*}" ||
    die "no qemu for ${target%%-*}: without it the archive has no manual (apt-get install qemu-user-static)"
}

# image OUT ARGUMENT...: what the Dockerfile makes, as one archive for `docker load`.
image() {
  local out=$1 folder; folder=$(mktemp -d)
  shift
  sources "$folder"
  docker build --quiet "$@" --tag "$NAME:release-build" "$folder" >/dev/null
  docker save "$NAME:release-build" | python3 scripts/release/image.py flatten "$SOURCE_DATE_EPOCH" "$NAME:$VERSION" "$out"
  rm -rf "$folder"
}

# crates OUT: what the program is made of, by cargo-cyclonedx: the crates of this target, with licences and who needs whom.
crates() {
  command -v cargo-cyclonedx >/dev/null || die 'cargo-cyclonedx is missing: scripts/dev/install.sh release'
  local folder; folder=$(mktemp -d)
  sources "$folder"
  cargo cyclonedx --quiet --manifest-path "$folder/Cargo.toml" --format json --spec-version 1.5 --all-features \
    --no-build-deps --target "$target" --override-filename sbom
  # Where it was built is nobody's business, and would differ each time.
  sed "s|path+file://$folder|path+file:///build|g; s|file://$folder|file:///build|g" "$folder/sbom.json" | settled >"$1"
  rm -rf "$folder"
}

# packages IMAGE CRATES OUT: what the image is made of. By syft: Debian's packages, and the Go modules in Temporal's programs; a program in
# Rust does not say what is in it, so the crates are added.
packages() {
  command -v syft >/dev/null || { say "no list of the image's packages: syft is missing (scripts/dev/install.sh release)"; return 0; }
  syft scan --quiet "docker-archive:$1" --source-name "$NAME" --source-version "$VERSION" --select-catalogers=-file --output cyclonedx-json |
    jq --slurpfile crates "$2" '.components += $crates[0].components | .dependencies += $crates[0].dependencies' | settled >"$3"
}

# An SBOM without its random number, at the time of the commit.
settled() {
  jq --sort-keys --arg at "$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
    'del(.serialNumber) | .metadata.timestamp = $at'
}

sums() {
  (cd "$DIST" && find . -maxdepth 1 -type f ! -name 'SHA256SUMS*' -printf '%P\n' | sort | xargs sha256sum >SHA256SUMS)
  (cd "$DIST" && sha256sum --quiet --check SHA256SUMS)
  if [ -n "$key" ]; then
    rm -f "$DIST/SHA256SUMS.sig"
    ssh-keygen -q -Y sign -f "$key" -n "$NAME" "$DIST/SHA256SUMS"
  else
    say 'not signed: --sign KEY, or see docs/release.md for cosign and minisign'
  fi
}

# same WHAT ONE OTHER: fails, and says so, when two builds differ.
same() {
  if cmp -s "$2" "$3"; then
    say "$1: both builds are the same, sha256 $(sha256sum "$2" | cut -d' ' -f1)"
  else
    say "$1: the two builds DIFFER: $2 $3"
    differ=1
  fi
}

dry_run() {
  local missing=0 tool
  say "$NAME $VERSION at $(git rev-parse --short HEAD), time $SOURCE_DATE_EPOCH, for $target, into $DIST"
  [ -z "$(git status --porcelain)" ] || say 'not committed, so not in it:' "$(git status --porcelain | wc -l) files"
  for tool in cargo jq python3 sha256sum cargo-cyclonedx; do
    command -v "$tool" >/dev/null || { say "missing: $tool"; missing=1; }
  done
  [ "$with_image" = 0 ] || command -v docker >/dev/null || { say 'missing: docker (or --no-image)'; missing=1; }
  [ -d "$(rustc --print target-libdir --target "$target")" ] || { say "missing: rustup target add $target"; missing=1; }
  is_native || (emulator >/dev/null) || missing=1
  command -v syft >/dev/null || say 'missing: syft; the release has no list of the packages in the image'
  printf '%s\n' "$archive" "$NAME-$VERSION-$target.cdx.json"
  [ "$with_image" = 0 ] || printf '%s\n' "$NAME-$VERSION-image-$(uname -m).tar" "$NAME-$VERSION-image-$(uname -m).cdx.json"
  printf '%s\n' SHA256SUMS
  return "$missing"
}

release() {
  local work; work=$(mktemp -d)
  mkdir -p "$DIST"
  local stem=$NAME-$VERSION
  sources "$work/one"
  say "building the program in $work/one"
  local built; built=$(program "$work/one")
  bundle "$built" "$DIST/$archive"
  crates "$DIST/$stem-$target.cdx.json"
  local machine; machine=$(uname -m)
  local image_file=$DIST/$stem-image-$machine.tar
  if [ "$with_image" = 1 ]; then
    say 'building the image'
    image "$image_file"
    packages "$image_file" "$DIST/$stem-$target.cdx.json" "${image_file%.tar}.cdx.json"
  fi
  [ "$check" = 0 ] || again "$work" "$built" "$image_file"
  sums
  say "in $DIST:" && (cd "$DIST" && ls -s1h)
  [ "$differ" = 0 ] || die "not reproducible: see above; $work has the second ones"
  rm -rf "$work"
}

# again WORK PROGRAM IMAGE: builds once more elsewhere, with another length of every path, and compares.
again() {
  local other=$1/in/another/folder/two built
  sources "$other"
  say "building the program again in $other"
  built=$(program "$other")
  same 'program' "$2" "$built"
  bundle "$built" "$1/$archive"
  same 'archive' "$DIST/$archive" "$1/$archive"
  [ "$with_image" = 1 ] || return 0
  say 'building the image again, with no layer of the first build'
  image "$1/image.tar" --no-cache
  same 'image' "$3" "$1/image.tar"
}

check=0 with_image=1 differ=0 key='' action=release target=$(uname -m)-unknown-linux-musl
while [ $# -gt 0 ]; do
  case $1 in
    --check) check=1 ;;
    --dry-run) action=dry_run ;;
    --sbom) action=sbom ;;
    --sums) action=sums ;;
    --no-image) with_image=0 ;;
    --target) target=${2:?--target needs a target}; with_image=0; shift ;;
    --sign) key=${2:?--sign needs a key file}; [ -r "$key" ] || die "the key $key cannot be read"; shift ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; case $1 in -h | --help) exit 0 ;; *) exit 2 ;; esac ;;
  esac
  shift
done
archive=$NAME-$VERSION-$target.tar.gz
case $action in
  sbom) mkdir -p "$DIST"; crates "$DIST/$NAME-$VERSION-$target.cdx.json"; printf '%s\n' "$DIST/$NAME-$VERSION-$target.cdx.json" ;;
  *) "$action" ;;
esac
