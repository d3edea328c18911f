#!/usr/bin/env bash
# Measures `temporal-warden run -- COMMAND` as PID 1 of a PID namespace beside tini, dumb-init, catatonit, s6, runit and
# supervisord, and beside the floor: the least a static Rust program can do (scripts/bench/init/floor.rs).
#
#   scripts/bench/init.sh            everything, about five minutes (as root; installs the peers where they are missing)
#   BENCH_BIN=… scripts/bench/init.sh  measures that program instead of building the static release
#   ROUNDS=1 scripts/bench/init.sh   fewer rounds than five
#
# Subjects take turns within each round; what counts are the ratios. docs/benchmarks.md explains the table.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
readonly here root ROUNDS=${ROUNDS:-5}

say() { printf '\033[36m[bench]\033[0m %s\n' "$*" >&2; }
die() { printf '\033[31m[bench]\033[0m %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die 'run it as root: it makes PID namespaces'
"$root/scripts/dev/install.sh" build
missing=()
for each in tini:tini dumb-init:dumb-init catatonit:catatonit s6-svscan:s6 runsvdir:runit supervisord:supervisor; do
  command -v "${each%%:*}" >/dev/null || missing+=("${each#*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 0755 "$work"
say 'building'
# shellcheck source=scripts/bench/program.sh
. "$here/program.sh"
install -m 0755 "$warden" "$work/temporal-warden"
for program in floor bench; do
  rustc -O --edition 2024 --target "$target" -C panic=abort -C strip=symbols -o "$work/$program" "$here/init/$program.rs"
done

# A folder for each way of telling what to run.
for folder in plain s6 runit supervisord; do
  mkdir -p "$work/$folder"
  mkfifo "$work/$folder/report"
done
for folder in s6 runit; do
  mkdir -p "$work/$folder/services/it"
  ln "$work/bench" "$work/$folder/services/it/run"
  ln -s services/it/supervise/control "$work/$folder/signal"
done
cat >"$work/supervisord/conf" <<CONF
[supervisord]
nodaemon=true
user=root
logfile=/dev/null
logfile_maxbytes=0
pidfile=$work/supervisord/pid
[program:it]
command=$work/bench child $work/supervisord
CONF

# name|what to compare sizes of|folder|command line
subjects=(
  "floor|$work/floor|plain|$work/floor COMMAND"
  "warden|$work/temporal-warden|plain|$work/temporal-warden run -- COMMAND"
  "tini|$(command -v tini)|plain|$(command -v tini) -- COMMAND"
  "dumb-init|$(command -v dumb-init)|plain|$(command -v dumb-init) COMMAND"
  "catatonit|$(command -v catatonit)|plain|$(command -v catatonit) -- COMMAND"
  "s6|$(command -v s6-svscan) $(command -v s6-supervise)|s6|$(command -v s6-svscan) $work/s6/services"
  "runit|$(command -v runsvdir) $(command -v runsv)|runit|$(command -v runsvdir) $work/runit/services"
  "supervisord|$(command -v supervisord)|supervisord|$(command -v supervisord) -c $work/supervisord/conf"
)

# measure WHAT COUNT NAME FOLDER COMMAND…: its figures, one a line, with what and whose they are.
measure() {
  local what=$1 count=$2 name=$3 folder=$4
  shift 4
  timeout 60 "$work/bench" "$what" "$count" "$work/$folder" "$@" 2>/dev/null | sed "s/^/$name $what /" >>"$work/results" ||
    say "$what of $name failed"
}

# How often, and how many orphans, this one can be asked for in reasonable time: supervisord reaps some hundred a second.
for ((round = 1; round <= ROUNDS; round++)); do
  say "round $round of $ROUNDS"
  for subject in "${subjects[@]}"; do
    IFS='|' read -r name _ folder line <<<"$subject"
    read -ra command <<<"$line"
    if [ "$name" = supervisord ]; then
      measure start 3 "$name" "$folder" "${command[@]}"
      [ "$round" -gt 1 ] || { measure reap 300 "$name" "$folder" "${command[@]}"; measure stop 2 "$name" "$folder" "${command[@]}"; }
      continue
    fi
    measure start 40 "$name" "$folder" "${command[@]}"
    measure signal 200 "$name" "$folder" "${command[@]}"
    measure stop 20 "$name" "$folder" "${command[@]}"
    measure reap 20000 "$name" "$folder" "${command[@]}"
  done
done
for subject in "${subjects[@]}"; do
  IFS='|' read -r name _ folder line <<<"$subject"
  read -ra command <<<"$line"
  say "idle, memory and early signals of $name"
  measure idle 10 "$name" "$folder" "${command[@]}"
  if [ "$name" = supervisord ]; then measure memory 300 "$name" "$folder" "${command[@]}"; continue; fi
  measure memory 20000 "$name" "$folder" "${command[@]}"
  measure lost 100 "$name" "$folder" "${command[@]}"
done
for subject in "${subjects[@]}"; do
  IFS='|' read -r name programs _ <<<"$subject"
  # shellcheck disable=SC2086  # several programs
  stat -Lc %s $programs | awk -v name="$name" '{sum += $1} END {print name, "bytes", sum}' >>"$work/results"
done

# The full warden, before an upstream that is not there: PID 1 and its gateway.
full() {
  local line pid outer
  WARDEN_ENGINE=external WARDEN_UPSTREAM=127.0.0.1:1 WARDEN_LISTEN=127.0.0.1:0 WARDEN_METRICS_LISTEN=127.0.0.1:0 \
    WARDEN_RUNTIME_DIR=$work/run WARDEN_CERTS_DIR=$work/certs WARDEN_PUBLISH_DIR=$work/published \
    WARDEN_DATA_DIR=$work/data WARDEN_AUDIT_FILE=$work/audit/audit.jsonl \
    unshare --pid --fork --kill-child --mount-proc "$work/temporal-warden" run >"$work/full.log" 2>&1 &
  outer=$!
  sleep 10
  pid=$(pgrep -P "$outer")
  for each in "warden-as-PID-1 $pid" "its-gateway $(pgrep -P "$pid" | head -n 1)"; do
    read -r name process <<<"$each"
    line=$(awk '/^(Rss|Pss|Private_Dirty):/ {printf "%s ", $2}' "/proc/$process/smaps_rollup")
    printf '%s memory %s1 %s\n' "$name" "$line" "$(awk '/^Threads:/ {print $2}' "/proc/$process/status")" >>"$work/results"
  done
  kill -TERM "$pid"
  wait "$outer" || true
}
say 'the full warden'
full

[ -z "${KEEP:-}" ] || cp "$work/results" "$KEEP"
python3 "$here/init/table.py" "$work/results"
