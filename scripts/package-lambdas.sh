#!/usr/bin/env bash
# Package the functions into out/STAGE, and prove that they would start: scripts/package-lambdas.sh [dev|prod]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage="usage: ./scripts/package-lambdas.sh [dev|prod]"
case "${1:-dev}" in
  dev | prod) exec make package STAGE="${1:-dev}" ;;
  *) echo "$usage" >&2; exit 2 ;;
esac
