#!/usr/bin/env bash
# Runs every check, in the order in which they fail fastest, and stops at the first failure. Sets up what they need by itself.
#   ./test.sh                 all of them
#   ./test.sh fmt clippy      only these: fmt clippy test doc deny notebook
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source scripts/setup-tests.sh
source scripts/python.sh

check_fmt() { cargo fmt --all --check; }

check_clippy() { cargo clippy --workspace --all-targets --locked -- -D warnings; }

check_test() {
  cargo test --workspace --locked
  # The tests have built the binary.
  export FOREWARN_BIN=${CARGO_TARGET_DIR:-target}/debug/forewarn
}

check_doc() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked; }

check_deny() {
  setup_cargo_deny
  cargo deny --locked check bans licenses sources
  # The advisory database is fetched from GitHub: where that cannot be reached the check is left out, and says so.
  if timeout 60 git ls-remote --quiet https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then
    cargo deny --locked check advisories
  else
    echo "deny: SKIPPED advisories: https://github.com/RustSec/advisory-db cannot be reached from here"
  fi
}

check_notebook() { notebooks/run.sh; }

checks=("$@")
((${#checks[@]} > 0)) || checks=(fmt clippy test doc deny notebook)
for check in "${checks[@]}"; do
  declare -F "check_$check" >/dev/null || { echo "test.sh: unknown check $check, wanted fmt clippy test doc deny notebook" >&2; exit 2; }
done

current=setup
# Not `check || …`: that would let a check go on after its first failing command.
trap 'status=$?; ((status == 0)) || echo "== $current FAILED" >&2' EXIT

setup_rust
setup_programs
python_environment
for check in "${checks[@]}"; do
  current=$check
  echo "== $check"
  SECONDS=0
  "check_$check"
  echo "== $check passed in ${SECONDS} s"
done
echo "all passed: ${checks[*]}"
