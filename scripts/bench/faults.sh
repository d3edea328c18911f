#!/usr/bin/env bash
# PID 1 is killed before every single change that any rotation or first start makes to its files, and N times at random
# instants; after each kill the next start must serve a whole set. Before that, faster: a start is tried on every state
# that any of these kills can leave. CI runs the same tests with a few kills and every eighth state.
#
#   scripts/bench/faults.sh [KILLS]      500; each half of them during rotations by hand and automatic renewals
#
# Needs root (mounts and ptrace). About 45 minutes on two cores: the states take two of them. FAULTS_STRIDE=N looks at, and
# kills before, every N-th only; FAULTS_STEPS=1 kills at the first and last of each kind of step; FAULTS_FROM=N begins with
# the N-th rotation (from 0) where a run broke off.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

[ "$(id -u)" = 0 ] || { echo 'faults.sh needs root: bundles are mounts of its own' >&2; exit 1; }
kills=${1:-500}
export FAULTS_STRIDE=${FAULTS_STRIDE:-1} FAULTS_KILLS=$(((kills + 1) / 2))
# A process that is killed leaves its files as they are, synced or not: in memory the same is seen sooner.
[ ! -d /dev/shm ] || export TMPDIR=/dev/shm
for part in faults_states faults_kill; do
  cargo test --locked --test "$part" -- --nocapture --test-threads 2
done
