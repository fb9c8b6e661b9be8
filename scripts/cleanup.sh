#!/usr/bin/env bash
# Delete a stage and all that it holds: scripts/cleanup.sh dev|prod [--yes]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage="usage: ./scripts/cleanup.sh dev|prod [--yes]"
case "${1:-}" in
  dev | prod) stage=$1 ;;
  *) echo "$usage" >&2; exit 2 ;;
esac
shift

make --silent .venv/run.stamp >&2
exec .venv/bin/pai destroy --stage "$stage" "$@"
