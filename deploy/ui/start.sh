#!/bin/sh
# Starts the front of the web UI (nginx), and follows the token and the TLS certificate when they change.
#
# /data (a volume) keeps what is made at the first start: the password, and a self-signed certificate (anew for another UI_NAME).
#   UI_PASSWORD, UI_USER       wins over the made one; the user is `temporal`
#   UI_OIDC=true               no password: people log in at their provider, and the UI sends each one's own token
#   /etc/front/tls.crt, .key   your own certificate, when mounted there
set -eu
umask 077
token=/etc/temporal/certs/ui-token.jwt own=/etc/front run=/run/front people=${UI_OIDC:-false} name=${UI_NAME:-localhost}

say() { printf '[front] %s\n' "$*"; }

# Made whole, then renamed: a start that is killed leaves no half password or key.
password() {
  if [ -z "${UI_PASSWORD:-}" ] && [ ! -s /data/password ]; then
    openssl rand -hex 16 >/data/password.new
    mv /data/password.new /data/password
    say "made a password: docker exec app_data_ui_front cat /data/password"
  fi
  user=${UI_USER:-temporal} secret=${UI_PASSWORD:-$(cat /data/password)}
  printf '%s:%s\n' "$user" "$(printf %s "$secret" | openssl passwd -6 -stdin)" >$run/users.new
  # nginx's workers read it, and no one else is in this container.
  chmod 0644 $run/users.new
  mv $run/users.new $run/users
  # shellcheck disable=SC2016 # the dollars are nginx's
  printf 'map $http_authorization $guesser { default $binary_remote_addr; "Basic %s" ""; }\n' \
    "$(printf '%s:%s' "$user" "$secret" | base64 -w0)" >$run/guesser.conf
}

# Nobody is asked here, so nobody is guessing: what a token is worth is the gateway's to say.
oidc() {
  : >$run/users
  # shellcheck disable=SC2016 # the dollars are nginx's
  printf 'map "" $guesser { default ""; }\n' >$run/guesser.conf
}

# fits: the certificate made before is for the name people use now, and has a month left.
fits() {
  [ -s /data/tls.crt ] && openssl x509 -in /data/tls.crt -noout -checkend 2592000 >/dev/null &&
    openssl x509 -in /data/tls.crt -noout -checkhost "$name" | grep -q 'does match'
}

certificate() {
  if [ ! -s $own/tls.crt ] && ! fits; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -subj "/CN=$name" \
      -addext "subjectAltName=DNS:$name,IP:127.0.0.1" -keyout /data/tls.key.new -out /data/tls.crt.new 2>/dev/null
    mv /data/tls.key.new /data/tls.key
    mv /data/tls.crt.new /data/tls.crt
    say "made a self-signed certificate for $name; mount your own as $own/tls.crt and $own/tls.key"
  fi
}

# write: what nginx includes, from what is there now.
write() {
  from=/data
  [ ! -s $own/tls.crt ] || from=$own
  cp $from/tls.crt $run/tls.crt
  cp $from/tls.key $run/tls.key
  if [ "$people" = true ]; then
    # shellcheck disable=SC2016 # the dollars are nginx's
    printf 'map "" $temporal_authorization { default $http_authorization; }\nmap "" $temporal_extras { default $http_authorization_extras; }\n' \
      >$run/token.conf
    printf 'auth_basic off;\n' >$run/asks.conf
  else
    # shellcheck disable=SC2016 # the dollars are nginx's
    printf 'map "" $temporal_authorization { default "Bearer %s"; }\nmap "" $temporal_extras { default ""; }\n' "$(cat $token)" \
      >$run/token.conf
    printf 'auth_basic "Temporal";\n' >$run/asks.conf
  fi
}

state() { cat $token $own/tls.crt 2>/dev/null | cksum; }

# follow PID: nginx takes a new token or certificate within ten seconds, without losing a connection.
follow() {
  before=$(state)
  while sleep 10; do
    now=$(state)
    [ "$now" = "$before" ] && continue
    if write && nginx -t -q -c /etc/temporal-ui/nginx.conf; then
      kill -HUP "$1" && say 'took the new token or certificate'
    fi
    before=$now
  done
}

until [ -s $token ]; do say "waiting for $token"; sleep 1; done
mkdir -p $run
if [ "$people" = true ]; then oidc; else password; fi
certificate
write
follow $$ &
exec nginx -c /etc/temporal-ui/nginx.conf -g 'daemon off;'
