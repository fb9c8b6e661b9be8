#!/usr/bin/env bash
# Let API Gateway write logs in this account and region, and set a stage's log level:
# scripts/setup-apigateway-logging.sh [dev|prod] [--level INFO|ERROR|OFF]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

make --silent .venv/run.stamp >&2
exec .venv/bin/python -m pai.operate.gateway "$@"
