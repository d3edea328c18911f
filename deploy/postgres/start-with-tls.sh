#!/bin/sh
# Starts the image's own entry point with TLS on, as soon as the warden has published this container's bundle.
# PostgreSQL and the warden start in any order: the warden makes the certificate first and waits for the database after.
set -eu

bundle=/etc/temporal/certs
hba=/var/run/postgresql/pg_hba.conf

trap 'exit 0' INT TERM # a stop while waiting; PID 1 has no default action for signals
waited=0
until [ -r "$bundle/server.key" ] && [ -r "$bundle/server.crt" ] && [ -r "$bundle/password" ]; do
  [ $((waited % 50)) -ne 0 ] || echo "waiting for $bundle/server.key: the temporal service publishes it at its first start" >&2
  waited=$((waited + 1))
  sleep 0.2
done
trap - INT TERM

# A copy, because the file of a strict umask on the host is not readable for the user postgres.
cp /etc/temporal/pg_hba.conf "$hba"
chmod 0644 "$hba"

exec docker-entrypoint.sh postgres \
  -c hba_file="$hba" \
  -c ssl=on \
  -c ssl_cert_file="$bundle/server.crt" \
  -c ssl_key_file="$bundle/server.key" \
  -c ssl_min_protocol_version=TLSv1.2 \
  -c password_encryption=scram-sha-256 \
  "$@"
