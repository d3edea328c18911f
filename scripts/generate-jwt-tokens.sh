#!/usr/bin/env bash
# New JWT tokens for the system, worker and client roles. Arguments: temporal-warden token generate --help
set -euo pipefail
exec /usr/local/bin/temporal-warden token generate "$@"
