#!/usr/bin/env bash
# Makes what the virtual machine boots: `vmlinuz`, `initramfs` and `root.img` in the folder that is its argument.
#
# The root is a real Debian of this machine's release, from the mirrors that this machine's apt uses, with systemd and
# all peers of the bench, and Debian's own cloud kernel. Libreswan is unpacked over it, because its package refuses to
# be beside strongSwan's.
set -euo pipefail

out=$1
guest=$(cd "$(dirname "$0")" && pwd)
root=$out/root

packages=(
    # A system that can boot, and install a package
    systemd-sysv udev dbus kmod busybox-static cpio procps util-linux
    # The bench and its peers
    strongswan-swanctl charon-systemd libcharon-extra-plugins libstrongswan-standard-plugins libstrongswan-extra-plugins
    frr bird2 gobgpd nftables iproute2 iputils-ping netbase tcpdump iperf3
    # What Libreswan's package depends on
    dns-root-data libnss3-tools libaudit1 libcap-ng0 libcurl3-nss libevent-core-2.1-7 libevent-pthreads-2.1-7
    libldap-2.5-0 libldns3 libnspr4 libnss3 libpam0g libselinux1 libunbound8
)

fail() {
    echo "build-image: $*" >&2
    exit 1
}

# shellcheck source=/dev/null
. /etc/os-release
[[ $ID == debian && -n ${VERSION_CODENAME:-} ]] ||
    fail "this is ${PRETTY_NAME:-an unknown system}: the machine's image is made from a Debian's own packages, with its kernel."

# Debian's own archives, as this machine's apt knows them; other sources (a vendor's) are left out.
sources=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk '$1 == "Debian" && $NF == "main" { print "deb", $2, $3, $4 }' | sort -u)
[[ -n $sources ]] || fail "apt knows no Debian archive here: run apt-get update."

# The kernel is unpacked and not installed: nothing here needs the boot loader's and the initramfs's scripts.
# dpkg's settings of this build go, or a package that is installed in the machine would lose its manual.
after_install=$(mktemp)
trap 'rm -rf "$root" "$after_install"' EXIT
cat >"$after_install" <<'HOOK'
set -eu
root=$1
kernel=$(chroot "$root" apt-cache depends --no-recommends --no-suggests linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p')
mkdir "$root/debs"
chroot "$root" sh -c "cd /debs && apt-get -qq -o APT::Sandbox::User=root download $kernel libreswan"
for deb in "$root"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root"
done
rm -r "$root/debs"
chroot "$root" depmod "${kernel#linux-image-}"
rm -f "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap
HOOK

umask 022
mmdebstrap --quiet --mode=root --variant=apt --include="$(IFS=,; echo "${packages[*]}")" \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --customize-hook="sh $after_install \"\$1\"" \
    "$VERSION_CODENAME" "$root" - <<<"$sources"

# --- Ours ------------------------------------------------------------------------------------------------------------

install -d "$root/usr/lib/causeway-vm"
install -m 755 "$guest"/{agent,bench-init,load-module,warm-up} "$root/usr/lib/causeway-vm/"
install -m 644 "$guest/causeway-vm-agent.service" "$root/etc/systemd/system/"
wants=$root/etc/systemd/system/multi-user.target.wants
ln -s ../causeway-vm-agent.service "$wants/"
# The peers run when a test starts them; nothing runs by the clock, and nobody logs in.
rm -f "$wants"/{frr,bird,gobgpd,strongswan,ipsec}.service "$root"/etc/systemd/system/*.wants/{*.timer,getty@tty1.service,nftables.service}
echo causeway-vm >"$root/etc/hostname"
printf '127.0.0.1 localhost causeway-vm\n' >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
: >"$root/etc/fstab"
chroot "$root" systemd-machine-id-setup >/dev/null 2>&1
mkdir -p "$root"/etc/swanctl/{x509,x509ca,x509ocsp,x509aa,x509ac,x509crl,pubkey,private,rsa,ecdsa,bliss,pkcs8,pkcs12,conf.d}
mkdir -p "$root/payload" "$root/var/lib/ipsec/nss"

# --- What boots ------------------------------------------------------------------------------------------------------

kernels=("$root"/boot/vmlinuz-*)
[[ ${#kernels[@]} == 1 ]] || fail "expected one kernel, got: ${kernels[*]}"
version=${kernels[0]##*/vmlinuz-}
mv "${kernels[0]}" "$out/vmlinuz"
rm -f "$root"/boot/*

early=$root/early
mkdir -p "$early"/{bin,dev,proc,root,modules}
cp "$root/bin/busybox" "$early/bin/"
install -m 755 "$guest/early-init" "$early/init"
number=100
for module in virtio_pci virtio_blk overlay; do
    while read -r _ path; do
        cp "$root$path" "$early/modules/$number-$(basename "$path")"
        number=$((number + 1))
    done < <(chroot "$root" modprobe -S "$version" --show-depends "$module" | grep ^insmod)
done
chroot "$root" sh -c 'cd /early && find . | cpio --quiet -o -H newc' >"$out/initramfs"
rm -r "$early"

mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$root" "$out/root.img" 700M
