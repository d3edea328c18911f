#!/usr/bin/env bash
# h2spec 2.2.1 against the gateway, behind a shim that holds the client certificate. Needs Go.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ -z "${H2SPEC_BIN:-}" ]; then
  export GOBIN=$PWD/target/tmp/bin
  H2SPEC_BIN=$GOBIN/h2spec
  [ -x "$H2SPEC_BIN" ] || go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible
fi
H2SPEC_BIN=$H2SPEC_BIN cargo test --locked --test gateway_h2spec -- --nocapture
