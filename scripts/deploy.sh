#!/usr/bin/env bash
# Bring a stage to your AWS account, or up to date: scripts/deploy.sh dev|prod [--enable-rag] [options of `pai deploy`]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage="usage: ./scripts/deploy.sh dev|prod [--enable-rag]"
case "${1:-}" in
  dev | prod) stage=$1 ;;
  *) echo "$usage" >&2; exit 2 ;;
esac
shift

options=()
for option in "$@"; do
  [[ $option == --enable-rag ]] && option=--rag
  options+=("$option")
done

make --silent .venv/run.stamp >&2
exec .venv/bin/pai deploy --stage "$stage" ${options[@]+"${options[@]}"}
