# All of the network that a gateway may have changed, for comparing. `ip_vti0` is the kernel's own: it comes with the module and stays.
set -e
ip -o link show | grep -v ip_vti0 | sed 's/^[0-9]*: //; s/ group default.*//'
ip -o address show | sed 's/^[0-9]*: //; s/ *valid_lft.*//' | grep -v ip_vti0
ip route show table all | grep -v ip_vti0
ip -6 route show table all | grep -v ip_vti0
ip rule
ip nexthop
ip xfrm state
ip xfrm policy
nft list ruleset
sysctl -a -r '^net\.ipv[46]\.(conf|ip_forward|fib_)' 2>/dev/null | grep -v -e ip_vti0 -e stable_secret
