#!/usr/bin/env bash
# How long the whole set takes: CA, certificates of server, client, worker and PostgreSQL, signing key, three tokens. The
# warden beside what people use instead, turn by turn in one run; what counts are the ratios.
#
#   scripts/bench/pki.sh                every peer that can be had (Go and Python's pip fetch them), 15 rounds
#   BENCH_BIN=… scripts/bench/pki.sh    measures that program instead of building the static release
#   ROUNDS=5 ONLY=warden,openssl scripts/bench/pki.sh
#
# The warden's set is larger: certificate and token of the web UI, JWKS, database password and state besides; it is read
# back and verified, and every file is synced. The others write into place and sync nothing.
#
# shellcheck disable=SC2317 # each peer's functions are called by its name
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
readonly here root ROUNDS=${ROUNDS:-15} CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden/pki-peers
readonly NAMES=(server client worker postgres)

say() { printf '\033[36m[bench]\033[0m %s\n' "$*" >&2; }
die() { printf '\033[31m[bench]\033[0m %s\n' "$*" >&2; exit 1; }

command -v openssl >/dev/null || die 'openssl is missing: scripts/dev/install.sh tools'
command -v go >/dev/null || PATH=$PATH:${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden/go/bin
work=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/pki.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$CACHE"

say 'building'
# shellcheck source=scripts/bench/program.sh
. "$here/program.sh"

# fetched MODULE PROGRAM: a peer in Go, kept for the next run.
fetched() {
  [ -x "$CACHE/$2" ] || { command -v go >/dev/null && GOBIN=$CACHE go install "$1" >/dev/null 2>&1; }
}

# --- peers: each makes its set in the current, empty folder ------------------------------------------------------

sans() {
  case $1 in
    server) echo DNS:temporal,DNS:temporal-server,DNS:localhost,DNS:app_data_temporal_server,IP:127.0.0.1,IP:::1 ;;
    postgres) echo DNS:postgres ;;
    *) echo "DNS:temporal-$1" ;;
  esac
}

use() { case $1 in server | postgres) echo serverAuth ;; *) echo clientAuth ;; esac; }

b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# claims ROLE: what the warden's tokens say.
claims() {
  printf '{"iss":"temporal-warden","aud":"temporal","sub":"temporal-%s","scope":"temporal-%s","iat":%s,"nbf":%s,"exp":%s,"jti":"%s","permissions":["temporal-system:write"]}' \
    "$1" "$1" "$now" "$now" $((now + 7776000)) "$(openssl rand -hex 16)"
}

# ES256 wants r and s side by side; openssl writes them as DER.
es256() {
  local message hex r s
  message=$(printf '{"alg":"ES256","typ":"JWT","kid":"k"}' | b64).$(claims "$1" | b64)
  hex=$(printf %s "$message" | openssl dgst -sha256 -sign jwt.key | openssl asn1parse -inform DER | sed -n 's/.*INTEGER *://p')
  { read -r r; read -r s; } <<<"$hex"
  printf '%s.%s' "$message" "$(printf '%064s%064s' "${r: -64}" "${s: -64}" | tr ' ' 0 | sed 's/../\\x&/g' | xargs -0 printf '%b' | b64)" >"$1.jwt"
}

rs256() {
  local message
  message=$(printf '{"alg":"RS256","typ":"JWT","kid":"k"}' | b64).$(claims "$1" | b64)
  printf '%s.%s' "$message" "$(printf %s "$message" | openssl dgst -sha256 -sign jwt.key | b64)" >"$1.jwt"
}

# openssl_set NEW-KEY-ARGUMENTS… : a script as guides have it, with the extensions of a textbook.
openssl_certificates() {
  local name
  openssl req -x509 "$@" -nodes -keyout ca.key -out ca.crt -days 3650 -subj '/CN=Bench CA' \
    -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
  for name in "${NAMES[@]}"; do
    openssl req "$@" -nodes -keyout "$name.key" -out "$name.csr" -subj "/CN=temporal-$name" 2>/dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=%s\nkeyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n' \
      "$(sans "$name")" "$(use "$name")" >ext
    openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 90 -extfile ext -out "$name.crt" 2>/dev/null
  done
}

openssl_tokens() {
  local role
  openssl genpkey "${@:2}" -out jwt.key 2>/dev/null
  openssl pkey -in jwt.key -pubout -out jwt.pub
  for role in system worker client; do "$1" "$role"; done
}

peer_warden() {
  WARDEN_CERTS_DIR=$PWD/certs "$warden" init
}

peer_openssl() {
  openssl_certificates -newkey ec -pkeyopt ec_paramgen_curve:P-256
  openssl_tokens es256 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
}

peer_openssl-rsa() {
  openssl_certificates -newkey rsa:2048
  openssl_tokens rs256 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
}

peer_python() { "$CACHE/venv/bin/python" "$here/pki_peer.py"; }

peer_step() {
  local name role san
  export STEPPATH=$PWD/.step
  "$CACHE/step" certificate create 'Bench CA' ca.crt ca.key --profile root-ca --no-password --insecure --not-after 87600h
  for name in "${NAMES[@]}"; do
    local names=()
    for san in $(sans "$name" | tr , ' '); do names+=(--san "${san#*:}"); done
    "$CACHE/step" certificate create "temporal-$name" "$name.crt" "$name.key" --profile leaf --ca ca.crt --ca-key ca.key \
      --no-password --insecure --not-after 2160h "${names[@]}"
  done
  "$CACHE/step" crypto keypair jwt.pub jwt.key --kty EC --crv P-256 --no-password --insecure
  for role in system worker client; do
    claims "$role" | "$CACHE/step" crypto jwt sign --key jwt.key --alg ES256 --subtle >"$role.jwt"
  done
}

peer_cfssl() {
  local name hosts
  echo '{"signing":{"default":{"expiry":"2160h","usages":["digital signature","server auth","client auth"]}}}' >config.json
  echo '{"CN":"Bench CA","key":{"algo":"ecdsa","size":256}}' | "$CACHE/cfssl" gencert -initca - | "$CACHE/cfssljson" -bare ca
  for name in "${NAMES[@]}"; do
    hosts=$(sans "$name" | sed 's/DNS://g; s/IP://g')
    echo '{"CN":"temporal-'"$name"'","key":{"algo":"ecdsa","size":256}}' |
      "$CACHE/cfssl" gencert -ca ca.pem -ca-key ca-key.pem -config config.json -hostname "$hosts" - | "$CACHE/cfssljson" -bare "$name"
  done
  openssl_tokens es256 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
}

# Certificates alone: mkcert knows no tokens.
peer_mkcert() {
  local name
  export CAROOT=$PWD/ca
  mkdir ca
  for name in "${NAMES[@]}"; do
    local more=()
    [ "$(use "$name")" = serverAuth ] || more=(-client)
    # shellcheck disable=SC2046
    "$CACHE/mkcert" -ecdsa "${more[@]}" -cert-file "$name.crt" -key-file "$name.key" $(sans "$name" | sed 's/DNS://g; s/IP://g; s/,/ /g')
  done
}

have_warden() { :; }
have_openssl() { :; }
have_openssl-rsa() { :; }
have_step() { fetched github.com/smallstep/cli/cmd/step@v0.29.0 step; }
have_mkcert() { fetched filippo.io/mkcert@v1.4.4 mkcert; }
have_cfssl() { fetched github.com/cloudflare/cfssl/cmd/cfssl@v1.6.5 cfssl && fetched github.com/cloudflare/cfssl/cmd/cfssljson@v1.6.5 cfssljson; }
have_python() {
  [ -x "$CACHE/venv/bin/python" ] || python3 -m venv "$CACHE/venv" 2>/dev/null || return 1
  "$CACHE/venv/bin/python" -c 'import cryptography, jwt' 2>/dev/null ||
    "$CACHE/venv/bin/pip" install -q 'cryptography==48.0.0' 'PyJWT==2.10.1' >/dev/null 2>&1
}

# --- the run -----------------------------------------------------------------------------------------------------

export DB=sqlite WARDEN_POSTGRES_SANS=postgres WARDEN_RUNTIME_DIR=$work/run WARDEN_DATA_DIR=$work/data
export WARDEN_PUBLISH_DIR=$work/published WARDEN_AUDIT_FILE=$work/audit/audit.jsonl
now=$(date +%s)
peers=()
for peer in warden openssl openssl-rsa step cfssl python mkcert; do
  [[ ,${ONLY:-$peer}, == *,$peer,* ]] || continue
  if "have_$peer"; then peers+=("$peer"); else say "$peer cannot be had here: left out"; fi
done

# timed PEER FOLDER: milliseconds.
timed() {
  local from to
  mkdir "$2"
  from=$EPOCHREALTIME
  (cd "$2" && "peer_$1" >"$work/last.log" 2>&1) || die "$1 failed: $(tail -3 "$work/last.log")"
  to=$EPOCHREALTIME
  awk -v a="$from" -v b="$to" 'BEGIN { printf "%.2f\n", (b - a) * 1000 }'
}

for peer in "${peers[@]}"; do timed "$peer" "$work/warm-$peer" >/dev/null; done
ours=$work/warm-warden/certs
{ [ -s "$ours/client-token.jwt" ] && openssl verify -CAfile "$ours/ca.crt" "$ours/temporal-server.crt" >/dev/null; } || die 'the warden made no good set'
for round in $(seq "$ROUNDS"); do
  for peer in "${peers[@]}"; do timed "$peer" "$work/$peer-$round" >>"$work/$peer.ms"; done
done

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

base=$(median "$work/warden.ms")
load=$(cut -d' ' -f1 /proc/loadavg)
echo "$ROUNDS rounds, load average $load, $(nproc) cores, on $(stat -f -c %T "$work")"
printf '| writer | median, ms | least | most | times the warden |\n|---|---|---|---|---|\n'
for peer in "${peers[@]}"; do
  awk -v p="$peer" -v m="$(median "$work/$peer.ms")" -v base="$base" \
    '{ if (NR == 1 || $1 < lo) lo = $1; if ($1 > hi) hi = $1 } END { printf "| %s | %.1f | %.1f | %.1f | %.1f |\n", p, m, lo, hi, m / base }' "$work/$peer.ms"
done
for peer in "${peers[@]}"; do
  [ "$peer" = warden ] || awk -v p="$peer" -v m="$(median "$work/$peer.ms")" -v base="$base" 'BEGIN { if (m <= base) { print "slower than " p; exit 1 } }' || failed=1
done
exit "${failed:-0}"
