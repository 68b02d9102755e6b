#!/usr/bin/env bash
# Executes the notebooks, or those that are named, and writes each with its pictures as HTML; fails if a cell does.
#   notebooks/run.sh [explore] [understand-a-model] [design-a-signal]
# FOREWARN_BIN is the binary (without: it is built). FOREWARN_STORE names the store to explore (a folder with dataset/; without: the
# demo makes one). FOREWARN_NOTEBOOK_OUT is where the pages go.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/python.sh"
out=${FOREWARN_NOTEBOOK_OUT:-${XDG_CACHE_HOME:-$HOME/.cache}/forewarn/notebook}
mkdir -p "$out"
notebooks=("$@")
((${#notebooks[@]} > 0)) || notebooks=(explore understand-a-model design-a-signal)

if [[ -z ${FOREWARN_BIN:-} ]]; then
  (cd "$root" && cargo build --quiet --workspace --bin forewarn)
  FOREWARN_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/forewarn
fi
FOREWARN_BIN=$(realpath "$FOREWARN_BIN")
FOREWARN_SCRATCH=$(mktemp -d)
trap 'rm -rf "$FOREWARN_SCRATCH"' EXIT
export FOREWARN_BIN FOREWARN_SCRATCH

python_environment
# Nothing is written into the user's home, and a backend chosen there would keep the pictures out of the page.
unset MPLBACKEND
export IPYTHONDIR=$out/ipython
for notebook in "${notebooks[@]}"; do
  if [[ $notebook == explore && -z ${FOREWARN_STORE:-} ]]; then
    echo "notebook: no FOREWARN_STORE, so the demo makes one"
    export FOREWARN_STORE=$FOREWARN_SCRATCH/demo
    "$FOREWARN_BIN" demo --once --listen 127.0.0.1:0 --dir "$FOREWARN_STORE"
  fi
  if [[ $notebook != explore ]] && ! command -v promtool >/dev/null; then
    echo "notebook: SKIPPED $notebook: promtool makes its sample data and is not here (Debian: prometheus)" >&2
    continue
  fi
  began=$SECONDS
  "$PYTHON" -m nbconvert --to html --execute --log-level ERROR --ExecutePreprocessor.timeout=900 \
    --output-dir "$out" --output "$notebook.html" "$root/notebooks/$notebook.ipynb"
  echo "notebook: $notebook executed in $((SECONDS - began)) s, see $out/$notebook.html"
done
