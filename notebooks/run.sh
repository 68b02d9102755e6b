#!/usr/bin/env bash
# Executes explore.ipynb and writes it, with its pictures, as HTML; fails if a cell does.
# FOREWARN_STORE names the store (a folder with dataset/ and reports/); without it, the demo makes one,
# run by FOREWARN_BIN if that is set.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/python.sh"
out=${FOREWARN_NOTEBOOK_OUT:-${XDG_CACHE_HOME:-$HOME/.cache}/forewarn/notebook}
mkdir -p "$out"

if [[ -z ${FOREWARN_STORE:-} ]]; then
  FOREWARN_STORE=$(mktemp -d)
  trap 'rm -rf "$FOREWARN_STORE"' EXIT
  echo "notebook: no FOREWARN_STORE, so the demo makes one"
  forewarn=(cargo run --quiet --manifest-path "$root/Cargo.toml" --)
  if [[ -n ${FOREWARN_BIN:-} ]]; then forewarn=("$FOREWARN_BIN"); fi
  "${forewarn[@]}" demo --once --listen 127.0.0.1:0 --dir "$FOREWARN_STORE"
fi
export FOREWARN_STORE

python_environment
# Nothing is written into the user's home, and a backend chosen there would keep the pictures out of the page.
unset MPLBACKEND
IPYTHONDIR="$out/ipython" "$PYTHON" -m nbconvert --to html --execute \
  --ExecutePreprocessor.timeout=300 --output-dir "$out" --output explore.html "$root/notebooks/explore.ipynb"
echo "notebook: executed, see $out/explore.html"
