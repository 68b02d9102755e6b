# Sourced by test.sh: gives `setup_programs`, which installs the real servers and the browser that the tests run against, where it
# can, and says what is missing where it cannot.

# Program -> Debian package. clang or gcc compiles SQLite, zstd and ring.
declare -A PACKAGE_OF=(
  [prometheus]=prometheus
  [promtool]=prometheus
  [prometheus-alertmanager]=prometheus-alertmanager
  [victoria-metrics]=victoria-metrics
  [chromium]=chromium
  [chromedriver]=chromium-driver
  [openssl]=openssl
  [postgres]=postgresql
  [cc]=build-essential
  [pkg-config]=pkg-config
  [python3]=python3
  [python3-venv]=python3-venv
)

setup_rust() {
  command -v cargo >/dev/null && return
  [[ -f $HOME/.cargo/env ]] && source "$HOME/.cargo/env" && command -v cargo >/dev/null && return
  echo "setup: cargo is missing; install Rust from https://rustup.rs (the right version then installs itself)" >&2
  return 1
}

missing_programs() {
  local program
  for program in "${!PACKAGE_OF[@]}"; do
    case $program in
      python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null || echo "$program" ;;
      # Debian keeps them out of the way, by version.
      postgres) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || echo "$program" ;;
      *) command -v "$program" >/dev/null || echo "$program" ;;
    esac
  done | sort
}

setup_programs() {
  local missing packages become=()
  mapfile -t missing < <(missing_programs)
  if ((${#missing[@]} > 0)) && command -v apt-get >/dev/null; then
    mapfile -t packages < <(for program in "${missing[@]}"; do echo "${PACKAGE_OF[$program]}"; done | sort -u)
    if [[ $(id -u) -ne 0 ]]; then become=(sudo -n); fi
    if ((${#become[@]} == 0)) || sudo -n true 2>/dev/null; then
      echo "setup: apt-get install ${packages[*]}"
      install_without_starting_services "${packages[@]}"
    else
      echo "setup: not root and no password-less sudo; run: sudo apt-get install ${packages[*]}" >&2
    fi
  fi
  mapfile -t missing < <(missing_programs)
  if ((${#missing[@]} > 0)); then
    echo "setup: missing: ${missing[*]}; the tests that need them would be skipped" >&2
    # Skipping in silence is worse than failing: a person may choose it, CI may not.
    [[ ${FOREWARN_ALLOW_SKIPS:-} == 1 ]] || { echo "setup: set FOREWARN_ALLOW_SKIPS=1 to go on without them" >&2; return 1; }
  fi
}

# Debian starts Prometheus, Alertmanager and PostgreSQL when they are installed; the tests start their own. A policy of "101" is Debian's way to
# say no, for as long as the installation takes; one that is there already stays.
install_without_starting_services() {
  local policy=/usr/sbin/policy-rc.d ours=0
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | "${become[@]}" tee "$policy" >/dev/null
    "${become[@]}" chmod 755 "$policy"
    ours=1
  fi
  local status=0
  "${become[@]}" apt-get update -qq || status=$?
  "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" || status=$?
  if ((ours)); then "${become[@]}" rm -f "$policy"; fi
  return "$status"
}

# Pinned: another version may know another licence or advisory, and the verdict should change only with a change here.
CARGO_DENY_VERSION=0.20.2

setup_cargo_deny() {
  if cargo deny --version 2>/dev/null | grep -qF "cargo-deny $CARGO_DENY_VERSION"; then return; fi
  echo "setup: cargo install cargo-deny $CARGO_DENY_VERSION (once, some minutes)"
  cargo install --quiet --locked --version "$CARGO_DENY_VERSION" cargo-deny
}
