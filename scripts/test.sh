#!/usr/bin/env bash
# All tests, with everything they need installed first. Ends with one line: `N passed, N failed`.
#
#   scripts/test.sh unit   format, lints, unit and integration tests of the crate (the quick loop)
#   scripts/test.sh e2e    the production stack, from the outside, by docker-compose; what concerns dependents by Compose v2 too
#   scripts/test.sh        both
#
# E2E_KEEP=1 tests a stack that runs already, and leaves it running. Arguments after the part go to cargo test or pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly WORK=${TEST_WORK_DIR:-target/test}
passed=0 failed=0

step() { printf '\n\033[36m==>\033[0m %s\n' "$*"; }

# check NAME COMMAND...: one test that passes when the command does.
check() {
  local name=$1
  shift
  step "$name"
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); printf '\033[31mFAILED:\033[0m %s\n' "$name"; fi
}

# optional TOOL NAME COMMAND...: a check that is skipped, and says so, where the tool is not installed.
optional() {
  if command -v "$1" >/dev/null; then shift; check "$@"; else step "$2: skipped, $1 is not installed"; fi
}

unit() {
  scripts/dev/install.sh build tools
  check 'format' cargo fmt --check
  check 'lints' cargo clippy --all-targets --locked --quiet -- -D warnings
  check 'lints of the static program' cargo clippy --release --target "$(uname -m)-unknown-linux-musl" --bins --locked --quiet -- -D warnings
  optional shellcheck 'shell scripts' bash -c 'git ls-files -z "*.sh" .ci/run | xargs -0 shellcheck'
  optional cargo-deny 'licences and bans (deny.toml)' cargo-deny --offline check licenses bans sources
  optional "${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden/tools/bin/cargo-cyclonedx" 'what is linked is in the list of parts (SBOM)' parts
  cargo_tests "$@"
  optional go 'certificates under a linter' certificates
  optional go 'HTTP/2 conformance (h2spec)' scripts/conformance/h2spec.sh
}

# The parts that start Temporal's own programs: taken from the image that was just built, so they are those that ship.
real_programs() {
  scripts/dev/install.sh postgres
  local bin=$PWD/$WORK/bin container
  mkdir -p "$bin"
  container=$(docker create "${WARDEN_IMAGE:-temporal-warden:latest}")
  docker cp -q "$container:/usr/local/bin/temporal-server" "$bin/temporal-server"
  docker cp -q "$container:/usr/local/bin/temporal-sql-tool" "$bin/temporal-sql-tool"
  docker cp -q "$container:/usr/local/lib/temporal-warden/temporal" "$bin/temporal"
  docker rm -f "$container" >/dev/null
  TEMPORAL_SERVER_BIN=$bin/temporal-server TEMPORAL_SQL_TOOL_BIN=$bin/temporal-sql-tool \
    TEMPORAL_CLI_BIN=$bin/temporal \
    cargo_tests --test engine_schema --test engine_server --test cli_front_exec --test rotation_live --test roll_back_live --test gateway_live --test external_live --test rotation_clock --test docker_dependents --test supervision_live --test profiles --test progress -- --ignored
}

# Every certificate of a first start, by zlint; Go is there wherever stand-in images are made.
certificates() {
  local folder; folder=$(mktemp -d)
  DB=sqlite WARDEN_POSTGRES_SANS=postgres WARDEN_CERTS_DIR=$folder/certs WARDEN_RUNTIME_DIR=$folder \
    cargo run --locked --quiet -- init >/dev/null && scripts/lint-certs.sh "$folder/certs"
  local status=$?
  rm -rf "$folder"
  return "$status"
}

# Each crate that is linked is in a release's list of parts, and none that Cargo.lock does not know.
parts() {
  local folder status=0; folder=$(mktemp -d)
  RELEASE_DIR=$folder scripts/release.sh --sbom >/dev/null
  jq -r '.components[] | "\(.name) v\(.version)"' "$folder"/*.cdx.json | sort -u >"$folder/listed"
  cargo tree --locked --edges normal --target "$(uname -m)-unknown-linux-musl" --prefix none --format '{p}' |
    awk 'NR > 1 {print $1, $2}' | sort -u >"$folder/linked"
  awk -F'"' '/^name = / {name = $2} /^version = "/ {print name " v" $2}' Cargo.lock | sort -u >"$folder/locked"
  [ -s "$folder/linked" ] && [ -z "$(comm -13 "$folder/listed" "$folder/linked")" ] &&
    [ -z "$(comm -23 "$folder/listed" "$folder/locked")" ] || status=1
  rm -rf "$folder"
  return "$status"
}

cargo_tests() {
  step "cargo test $*"
  local log=$WORK/cargo.log status=0
  # Not through a pipe: what a failed test leaves running would hold it open, and this would wait for ever.
  cargo test --locked --no-fail-fast "$@" >"$log" 2>&1 &
  tail --pid=$! -n +1 -f "$log"
  wait $! || status=$?
  local p f
  read -r p f < <(awk '/^test result:/ {p += $4; f += $6} END {print p + 0, f + 0}' "$log")
  passed=$((passed + p)) failed=$((failed + f))
  # A build that failed, or a test program that died, has no result line.
  [ "$status" = 0 ] || [ "$f" -gt 0 ] || failed=$((failed + 1))
}

e2e() {
  scripts/dev/install.sh docker python tools
  # Not in target/: the venv is made once for all.
  local venv=${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden/e2e
  [ -x "$venv/bin/pytest" ] || python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/e2e/requirements.txt
  [ -n "${E2E_KEEP:-}" ] || check 'images' scripts/dev/stack.sh build
  [ -n "${E2E_KEEP:-}" ] || real_programs
  step 'pytest tests/e2e'
  pytests "$venv" tests/e2e "$@"
  # The same promises to dependents on a stack that Compose v2 made; unless only some were asked for, or by one of your choice.
  [ $# = 0 ] && [ -z "${E2E_KEEP:-}${DOCKER_COMPOSE:-}" ] || return 0
  step 'dependents under Compose v2'
  check 'Compose v2' scripts/dev/install.sh compose2
  DOCKER_COMPOSE=${XDG_CACHE_HOME:-$HOME/.cache}/temporal-warden/docker-compose-v2 pytests "$venv" tests/e2e/test_08_dependents.py
}

# pytests VENV ARGUMENTS...: what passed and failed of them.
pytests() {
  local venv=$1 report=$WORK/e2e.xml status=0
  shift
  rm -f "$report"
  "$venv/bin/pytest" -p no:cacheprovider --junitxml="$report" "$@" || status=$?
  local p f
  read -r p f < <(python3 - "$report" <<'PYTHON'
import sys
from xml.etree import ElementTree

passed = failed = 0
try:
    for case in ElementTree.parse(sys.argv[1]).iter("testcase"):
        outcome = {child.tag for child in case}
        failed += bool(outcome & {"failure", "error"})
        passed += not outcome & {"failure", "error", "skipped"}
except (OSError, ElementTree.ParseError):
    pass  # no report: pytest itself failed, and its exit code says so
print(passed, failed)
PYTHON
  )
  passed=$((passed + p)) failed=$((failed + f))
  [ "$status" = 0 ] || [ "$f" -gt 0 ] || failed=$((failed + 1))
}

mkdir -p "$WORK"
part=${1:-all}
shift || true
case $part in
  unit) unit "$@" ;;
  e2e) e2e "$@" ;;
  all) unit; e2e ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; case $part in help | -h | --help) exit 0 ;; *) exit 2 ;; esac ;;
esac

printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
