#!/usr/bin/env bash
# Installs what the tests need on a Debian-like machine, and checks what can't be installed. Quick when all is there.
#
# The packages' services are not started, nor enabled for the next boot; what ran before goes on running.
set -euo pipefail

# Rust 1.89 or newer builds this version; with a newer toolchain a newer one that is there already is as good.
nextest_version=0.9.128

packages=(
    strongswan-swanctl charon-systemd libcharon-extra-plugins libstrongswan-standard-plugins
    libstrongswan-extra-plugins frr bird2 gobgpd nftables iproute2 iputils-ping netbase tcpdump util-linux
    # Another reader of what we send
    tshark
    # Prometheus's own parser of the metrics
    python3-prometheus-client
    # The virtual machine with Debian's stock kernel: its processor, and what makes its image
    qemu-system-x86 mmdebstrap e2fsprogs
    # The package: building it, reading its manual, judging its unit
    dpkg-dev binutils man-db systemd
)

fail() {
    echo "install-test-deps: $*" >&2
    exit 1
}

installed() {
    [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) == ii* ]]
}

# --- What can't be installed -----------------------------------------------------------------------------------------

[[ $(id -u) == 0 ]] || fail "the tests make network namespaces and need root: run them with sudo."
command -v cargo >/dev/null ||
    fail "cargo is not in PATH: install Rust 1.90 or newer (https://rustup.rs); under sudo keep your PATH (sudo -E env PATH=\"\$PATH\")."
# Cargo refuses older ones by itself, but names the first dependency that it can't read.
toolchain=$(cargo --version) || fail "cargo does not run: install Rust 1.90 or newer (https://rustup.rs)."
[[ $(printf '%s\n' 1.90.0 "$(cut -d' ' -f2 <<<"$toolchain")" | sort -V | head -n1) == 1.90.0 ]] ||
    fail "this is $toolchain: install Rust 1.90 or newer (https://rustup.rs)."
[[ -c /dev/net/tun ]] ||
    fail "/dev/net/tun is missing: load the module (modprobe tun), or give the container the device (--device /dev/net/tun)."
unshare --net true 2>/dev/null ||
    fail "this machine does not let root make network namespaces: a container needs CAP_SYS_ADMIN and CAP_NET_ADMIN."

# --- Debian packages -------------------------------------------------------------------------------------------------

missing=()
for package in "${packages[@]}"; do
    installed "$package" || missing+=("$package")
done

if ((${#missing[@]})); then
    command -v apt-get >/dev/null ||
        fail "these Debian packages are missing, and there is no apt-get here: ${missing[*]}"
    echo "installing: ${missing[*]}"
    policy=/usr/sbin/policy-rc.d
    kept=
    restore() {
        rm -f "$policy"
        if [[ -n $kept ]]; then mv "$kept" "$policy"; fi
    }
    if [[ -e $policy ]]; then
        kept=$policy.before-test-deps
        mv "$policy" "$kept"
    fi
    trap restore EXIT
    # 101: "action forbidden by policy", so that no package starts its service.
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    export DEBIAN_FRONTEND=noninteractive
    install=(apt-get install -y --no-install-recommends "${missing[@]}")
    "${install[@]}" || {
        apt-get update
        "${install[@]}"
    }
    restore
    trap - EXIT
    if [[ -d /run/systemd/system ]]; then
        for service in frr bird gobgpd strongswan; do
            case " ${missing[*]} " in
            *" $service"* | *" charon-systemd "*) systemctl disable --quiet "$service" 2>/dev/null || true ;;
            esac
        done
    fi
fi

unshare --net nft 'add table inet probe' 2>/dev/null ||
    fail "nftables does not work in a network namespace here: the kernel needs nf_tables (modprobe nf_tables)."

# --- The test runner -------------------------------------------------------------------------------------------------

if ! cargo nextest --version >/dev/null 2>&1; then
    echo "installing cargo-nextest $nextest_version from source: this takes some minutes"
    # Without optimisation and without its updater: it only starts the tests, and builds much sooner so.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug --no-default-features --features default-no-update \
        "cargo-nextest@$nextest_version"
fi

"$(dirname "$0")/package.sh" --prepare

echo "everything that the tests need is there"
