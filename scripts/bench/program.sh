# shellcheck shell=bash
# Sourced by what measures: `warden` becomes the program to measure, BENCH_BIN or the static release for `target`, which is
# built where none is given. Needs `root`, the repository's folder.

target=$(uname -m)-unknown-linux-musl
warden=${BENCH_BIN:-}
if [ -z "$warden" ]; then
  # shellcheck disable=SC2154 # whoever sources this has it
  (cd "$root" && RUSTFLAGS=$(scripts/pgo/flags.sh) cargo build --release --locked --quiet --target "$target")
  warden=$root/target/$target/release/temporal-warden
fi
