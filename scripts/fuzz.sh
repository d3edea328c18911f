#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/ one after the other. Needs a nightly toolchain and cargo-fuzz:
#   cargo install cargo-fuzz --locked
# usage: scripts/fuzz.sh [SECONDS [TARGET...]]   default: 600 seconds each of headers, token and message
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-600}
shift || true
targets=("${@:-headers}")
[ $# -gt 0 ] || targets=(headers token message)

for target in "${targets[@]}"; do
  mkdir -p "fuzz/corpus/$target"
  # No address sanitizer: this code is safe Rust, and without it ten times as many inputs are tried.
  nice -n 19 cargo +nightly fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=1024 -dict=fuzz/dictionary -print_final_stats=1
done
