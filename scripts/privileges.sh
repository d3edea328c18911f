#!/usr/bin/env bash
# What the kernel says of each process in the running container, as the table of docs/security.md.
#
#   scripts/privileges.sh [CONTAINER]
set -euo pipefail

docker exec -i "${1:-app_data_temporal_server}" bash -s <<'INSIDE'
set -euo pipefail

# The warden and its children; what `docker exec` started has no parent in here.
pids=()
for folder in /proc/[0-9]*; do
  pid=${folder#/proc/}
  parent=$(awk '/^PPid:/ {print $2}' "$folder/status" 2>/dev/null) || continue
  if [[ $pid == 1 || $parent == 1 ]]; then pids+=("$pid"); fi
done
mapfile -t pids < <(printf '%s\n' "${pids[@]}" | sort -n)

# NAME-OF-PID: the program, and which of its parts.
name_of() {
  local words
  mapfile -d '' -t words <"/proc/$1/cmdline"
  case ${words[0]##*/} in
    temporal-warden) echo "temporal-warden ${words[1]}" ;;
    *) echo "${words[0]##*/}" ;;
  esac
}

# row LABEL COMMAND: one cell per process; PID is the process.
row() {
  printf '| %s |' "$1"
  for PID in "${pids[@]}"; do export PID; printf ' %s |' "$(bash -c "$2" | xargs)"; done
  printf '\n'
}

printf '| |'
for pid in "${pids[@]}"; do printf ' `%s` |' "$(name_of "$pid")"; done
printf '\n|---|'
for _ in "${pids[@]}"; do printf -- '---|'; done
printf '\n'
for field in Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Seccomp_filters; do
  row "$field" "awk -F: '/^$field:/ {print \$2}' /proc/\$PID/status"
done
row 'Max core file size' "awk '/^Max core file size/ {print \$5, \$6}' /proc/\$PID/limits"
row 'owner of `/proc/PID/environ`' 'stat -c %U /proc/$PID/environ'
INSIDE
