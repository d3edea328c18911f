#!/usr/bin/env bash
# Behaves as the official PostgreSQL image does, for the parts a compose file uses: POSTGRES_USER, POSTGRES_DB,
# POSTGRES_PASSWORD and its _FILE form, POSTGRES_INITDB_ARGS, PGDATA, /docker-entrypoint-initdb.d, root → postgres.
set -euo pipefail

[ "${1:0:1}" != - ] || set -- postgres "$@"

# The server only, not `postgres --version` or another program.
[ "$1" = postgres ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA" && chmod 0700 "$PGDATA"
  find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
  find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
  exec gosu postgres "${BASH_SOURCE[0]}" "$@"
fi

# setting NAME DEFAULT: $NAME, or the content of the file that $NAME_FILE names.
setting() {
  local file_variable=$1_FILE
  if [ -n "${!file_variable:-}" ]; then printf '%s' "$(<"${!file_variable}")"; else printf '%s' "${!1:-$2}"; fi
}

first_start() {
  local user database password
  user=$(setting POSTGRES_USER postgres)
  database=$(setting POSTGRES_DB "$user")
  password=$(setting POSTGRES_PASSWORD '')
  if [ -z "$password" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
    echo 'Error: Database is uninitialized and superuser password is not specified.' >&2
    exit 1
  fi
  # shellcheck disable=SC2086 # several arguments in one variable, as in the official image
  initdb --username="$user" --pwfile=<(printf '%s\n' "$password") -D "$PGDATA" ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
  # Only the local socket, and none of the caller's flags: nothing can connect before the set-up is complete.
  pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
  export PGPASSWORD=$password
  [ "$database" = postgres ] || psql -v ON_ERROR_STOP=1 -U "$user" -d postgres --no-password -v db="$database" <<<'CREATE DATABASE :"db";'
  local file
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sh) bash "$file" ;;
      *.sql) psql -v ON_ERROR_STOP=1 -U "$user" -d "$database" --no-password -f "$file" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
  unset PGPASSWORD
  echo 'PostgreSQL init process complete; ready for start up.'
}

[ -s "$PGDATA/PG_VERSION" ] || first_start
exec "$@"
