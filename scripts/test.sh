#!/usr/bin/env bash
# Installs what the tests need and runs every level of them. Needs root, /dev/net/tun and network namespaces.
#
# The last lines are the test runner's own summary, and its exit status is this script's.
set -euo pipefail
cd "$(dirname "$0")/.."

# sudo keeps neither PATH nor HOME, and a distribution's own cargo may be too old: take the Rust toolchain of the one who
# called. What cargo downloads as root stays in root's own cargo home.
if [[ -n ${SUDO_USER:-} ]] || ! command -v cargo >/dev/null; then
    home=$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)
    if [[ -x $home/.cargo/bin/cargo ]]; then
        export PATH="$home/.cargo/bin:$PATH" RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
    fi
fi

scripts/install-test-deps.sh

# What root builds in somebody's checkout is theirs, or their next build fails.
give_back() {
    if [[ -n ${SUDO_USER:-} && -d target ]]; then chown -R --reference=. target; fi
}
trap give_back EXIT

step() {
    printf '\n== %s\n' "$*"
}

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --workspace --all-targets --quiet -- -D warnings

step "examples in the documentation"
cargo test --workspace --doc --quiet

# A level that has lost its tests (a renamed file, a wrong filter) must not pass in silence.
step "test levels"
listing=$(cargo nextest list --workspace --message-format oneline)
level() {
    local count
    count=$(grep -Ec "$2" <<<"$listing" || true)
    printf '%-46s %4d tests\n' "$1" "$count"
    if ((count == 0)); then
        echo "test: no test at this level: nothing matches $2" >&2
        exit 1
    fi
}
level "site file and its diagnostics" '^causeway-config[: ]'
level "cryptography against published vectors" '^causeway-crypto[: ]'
level "IKEv2: codecs, machines, pairs" '^causeway-ike[: ]'
level "BGP: codecs, machines, pairs" '^causeway-bgpd[: ]'
level "ESP" '^causeway-esp[: ]'
level "host and data planes in namespaces" '^causeway-vti[: ]'
level "architecture" '^causeway::architecture '
level "the Debian package" '^causeway::(package|e2e_packaging) '
level "the package on a Debian with systemd, in a VM" '^causeway::vm_packaging '
level "the test bench itself" '^causeway-lab[: ]'
level "end to end with real peers" '^causeway::e2e_'
level "the demo" '^causeway::e2e_demo '
level "the virtual machine itself" '^causeway-vm[: ]'
level "kernel plane in a VM with Debian's kernel" '^causeway::in_vm '

step "tests"
cargo nextest run --workspace
