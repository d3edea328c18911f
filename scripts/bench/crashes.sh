#!/usr/bin/env bash
# Soak of the supervisor as PID 1 of a namespace: a child that crashes at once, 10,000 times. What PID 1 holds at the end
# (descriptors, children, memory) is what it held after the first tenth.
#
#   scripts/bench/crashes.sh [COUNT]      10,000; needs root, takes a minute or two
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
WARDEN_TEST_CRASHES=${1:-10000} exec cargo test --locked --quiet --test pid1_supervisor -- --exact crashes_of_a_child_leave_nothing_behind --nocapture
