# Every file and folder of the system, but for what dpkg and the system keep about themselves, and what comes from the host.
find / -xdev \( -path /root -o -path /payload -o -path /tmp -o -path /var/tmp -o -path /var/log -o -path /var/lib/dpkg -o -path /var/cache \
    -o -path /var/lib/systemd \) -prune -o -print | sort
find /run /var/lib/systemd/deb-systemd-helper-* -name '*causeway*' 2>/dev/null | grep -v -e /run/netns -e causeway-vm || true
