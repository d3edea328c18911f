#!/usr/bin/env bash
# Prints the compiler's flags for the program as it ships: RUSTFLAGS=$(scripts/pgo/flags.sh) cargo build --release --target …-musl
#
# They name the profile by which the compiler lays out what a call goes through (scripts/pgo/train.sh makes it). It knows functions by
# names that contain the compiler's version and the target: for others it is of no use, and a build without it is as good a program, slower.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${1:-$(uname -m)-unknown-linux-musl}
packed=$here/${target%%-*}.profdata.xz folder=${CARGO_TARGET_DIR:-$here/../../target}/pgo

without() { echo "$1: built without a profile" >&2; exit; }

[ -e "$packed" ] || without "there is none for $target"
made_by=$(<"${packed%.profdata.xz}.rustc")
[ "$(rustc -V)" = "$made_by" ] || without "it is of $made_by, this is $(rustc -V)"
command -v xz >/dev/null || without 'xz is missing, which unpacks it'

mkdir -p "$folder"
# Named by its content: cargo builds anew when its flags change, and does not look into files.
profile=$(cd "$folder" && pwd)/$(sha256sum <"$packed" | cut -c 1-16).profdata
if [ ! -e "$profile" ]; then
  xz -d <"$packed" >"$profile.$$"
  mv -f "$profile.$$" "$profile"
fi
# Functions that have changed since are built without it, silently.
printf '%s\n' "-Cprofile-use=$profile -Cllvm-args=-no-pgo-warn-mismatch"
