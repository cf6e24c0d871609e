# A cloud in a namespace, with a gateway of its own (the same program, run by hand) and an instance behind it; this machine is the
# customer's gateway, with a network of its own.
set -e
ip netns add cloud
ip link add wan0 type veth peer name wan0 netns cloud
ip addr add 203.0.113.10/24 dev wan0
ip link set wan0 up
ip link add lan0 type dummy
ip addr add 192.168.2.1/24 dev lan0
ip link set lan0 up
ip -n cloud link set lo up
ip -n cloud addr add 203.0.113.1/24 dev wan0
ip -n cloud link set wan0 up
ip -n cloud link add instance type dummy
ip -n cloud addr add 10.0.0.1/16 dev instance
ip -n cloud link set instance up

install -d -m 700 /root/cloud
printf 'a key for the package only, 0123456789\n' >/root/cloud/home.psk
chmod 600 /root/cloud/home.psk
cat >/root/cloud/site.toml <<'END'
[gateway]
name = "cloud"
address = "203.0.113.1"

[daemon]
socket = "/root/cloud/causeway.sock"

[tunnel.home]
remote = "203.0.113.10"
psk = { file = "/root/cloud/home.psk" }
inside = "10.1.0.1/31"
initiate = false

[bgp]
asn = 65010
redistribute = ["connected"]

[bgp.neighbor.home]
tunnel = "home"
remote-asn = 65000
import = "from-home"
export = "to-home"

[prefix-list]
from-home = [{ permit = "192.168.2.0/24" }]
to-home = [{ permit = "10.0.0.0/16" }]
END
# The program as the package brings it, from beside the package: the cloud stays when the package goes.
dpkg-deb --fsys-tarfile /root/first.deb | tar -x -O ./usr/bin/causeway >/root/cloud/causeway
chmod 755 /root/cloud/causeway
ip netns exec cloud setsid /root/cloud/causeway run --config /root/cloud/site.toml >/root/cloud/log 2>&1 </dev/null &
# IPv6 looks for others with the same address for a moment, and only then has its routes.
until [ -z "$(ip -6 addr show tentative)" ]; do sleep 0.2; done
