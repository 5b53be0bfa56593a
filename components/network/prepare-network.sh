#!/usr/bin/env bash
# Readies this host to pass on what pods send: kernel settings, and the one rule by which pods speak to the rest of the world
# with the host's address. What the choices before this one left is taken away: rules of the other netfilter, the routes or
# the VXLAN device of the other pod network.
set -euo pipefail
: "${POD_CIDR:?}" "${NETFILTER:?}"
vxlan=${VXLAN_DEVICE:-}
run=/run/plainkube
# shellcheck source=components/host/netfilter.sh
. /opt/plainkube/scripts/netfilter
mkdir -p "$run"

sysctl --quiet --write net.ipv4.ip_forward=1
modprobe --quiet br_netfilter || [ -e /proc/sys/net/bridge ]
sysctl --quiet --write net.bridge.bridge-nf-call-iptables=1

rule() {
  local table=$1 chain=$2
  shift 2
  iptables --wait 10 --table "$table" --check "$chain" "$@" 2>/dev/null ||
    iptables --wait 10 --table "$table" --append "$chain" "$@"
}

# Rules are gone after a reboot, and this note with them.
before=$(cat "$run/netfilter" 2>/dev/null || :)
case $NETFILTER in
  iptables)
    if [ "$before" = nftables ]; then remove_nftables all; fi
    rule nat POSTROUTING --source "$POD_CIDR" ! --destination "$POD_CIDR" --match addrtype ! --dst-type LOCAL \
      --match comment --comment plainkube --jump MASQUERADE
    rule filter FORWARD --source "$POD_CIDR" --match comment --comment plainkube --jump ACCEPT
    rule filter FORWARD --destination "$POD_CIDR" --match comment --comment plainkube --jump ACCEPT
    ;;
  nftables)
    if [ "$before" = iptables ]; then remove_iptables all; fi
    # One transaction: the table is never half there. The empty one lets the deletion succeed the first time, too.
    nft --file - <<EOF
table ip plainkube
delete table ip plainkube
table ip plainkube {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr $POD_CIDR ip daddr != $POD_CIDR fib daddr type != local masquerade
  }
}
EOF
    ;;
esac
echo "$NETFILTER" >"$run/netfilter"

old=$(cat "$run/vxlan" 2>/dev/null || :)
if [ -n "$old" ] && [ "$old" != "$vxlan" ]; then ip link delete "$old" || [ ! -e "/sys/class/net/$old" ]; fi
rm -f "$run/vxlan"
if [ -n "$vxlan" ]; then
  ip route flush proto 112
  echo "$vxlan" >"$run/vxlan"
fi
