# Sourced: gives `python_environment`, which makes a virtual environment in the cache folder with what the notebook and the S3
# tests need, puts its programs on PATH and sets PYTHON. It is made anew when requirements.txt changes.

python_environment() {
  local root requirements venv stamp
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  requirements=$root/notebooks/requirements.txt
  venv=${XDG_CACHE_HOME:-$HOME/.cache}/forewarn/venv
  stamp=$venv/made-from-requirements.txt
  if ! cmp --silent "$requirements" "$stamp"; then
    command -v python3 >/dev/null || { echo "setup: python3 is missing; install it (Debian: python3 python3-venv)" >&2; return 1; }
    echo "setup: a Python environment in $venv"
    rm -rf "$venv"
    python3 -m venv "$venv" || { echo "setup: python3 cannot make an environment (Debian: python3-venv)" >&2; return 1; }
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
    cp "$requirements" "$stamp"
  fi
  PYTHON=$venv/bin/python
  PATH=$venv/bin:$PATH
  export PATH PYTHON
}
