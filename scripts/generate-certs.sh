#!/usr/bin/env bash
# New TLS certificates for Temporal, its clients and its database. Arguments: temporal-warden cert generate --help
set -euo pipefail
exec /usr/local/bin/temporal-warden cert generate "$@"
