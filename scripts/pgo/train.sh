#!/usr/bin/env bash
# Makes the profile by which the static program is built (profile-guided optimisation, scripts/pgo/flags.sh): builds it with counters, puts the
# load of scripts/bench/gateway.sh on it, reads its audit log, and keeps what was counted. docs/benchmarks.md says what that brings.
#
#   scripts/pgo/train.sh      about 15 minutes, as root on x86-64; rustup brings llvm-tools where they are missing
#
# To be done anew for another Rust compiler (and the Dockerfile's image of it), and when what a call goes through has changed much.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
readonly here root machine=x86_64 target=x86_64-unknown-linux-musl work=/var/tmp/temporal-warden-pgo

say() { printf '\033[36m[pgo]\033[0m %s\n' "$*" >&2; }
die() { printf '\033[31m[pgo]\033[0m %s\n' "$*" >&2; exit 1; }

[ "$(uname -m)" = "$machine" ] || die "on $machine, of which the profile is"
[ "$(id -u)" = 0 ] || die "as root: the program's parts run as different users"
merge=$(dirname "$(rustc --print target-libdir)")/bin/llvm-profdata
[ -x "$merge" ] || rustup component add llvm-tools
rm -rf "$work/counts" "$work/bench"
# The gateway writes there as a user of its own.
mkdir -p "$work/counts" && chmod 0777 "$work/counts"

say 'building with counters'
cd "$root"
RUSTFLAGS="-Cprofile-generate=$work/counts" CARGO_TARGET_DIR=$work/target cargo build --release --locked --quiet --target "$target"
program=$work/target/$target/release/temporal-warden
printf '#!/bin/sh\nexec python3 %s %s "$@"\n' "$here/unconfined.py" "$program" >"$work/temporal-warden"
chmod +x "$work/temporal-warden"

say 'load'
BENCH_BIN=$work/temporal-warden KEEP=$work/bench ONLY=load,polls,goaway,reload WAYS='direct warden' ROUNDS=1 scripts/bench/gateway.sh
say 'reading the audit log'
for question in verify report; do
  WARDEN_ENGINE=dev WARDEN_CERTS_DIR=$work/bench/certs WARDEN_AUDIT_FILE=$work/bench/audit/audit.jsonl "$work/temporal-warden" audit "$question" >"$work/$question"
done

compgen -G "$work/counts/*.profraw" >/dev/null || die "nothing was counted; the logs are in $work/bench"
# Not sparse: that a function never ran is what keeps it out of the way of those that did.
"$merge" merge --output "$work/profdata" "$work"/counts/*.profraw
xz -9 <"$work/profdata" >"$here/$machine.profdata.xz"
rustc -V >"$here/$machine.rustc"
say "$(wc -c <"$here/$machine.profdata.xz") bytes for $(<"$here/$machine.rustc"); now build, and compare with scripts/bench/gateway.sh"
rm -rf "$work"
