#!/usr/bin/env bash
# PID 1 is killed before every single change that any rotation or start makes to its files, and N times at random
# instants; after each kill the next start must serve a whole set. CI runs the same tests with a few kills.
#
#   scripts/bench/faults.sh [KILLS]      500; each half of them during rotations by hand and automatic renewals
#
# Needs root (mounts and ptrace). About half an hour on two cores; FAULTS_STRIDE=N kills before every N-th change only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[ "$(id -u)" = 0 ] || { echo 'faults.sh needs root: bundles are mounts of its own' >&2; exit 1; }
kills=${1:-500}
FAULTS_STRIDE=${FAULTS_STRIDE:-1} FAULTS_KILLS=$(((kills + 1) / 2)) \
  exec cargo test --locked --test faults_kill -- --nocapture --test-threads 2
