#!/usr/bin/env bash
# Puts rules of ours beside those of others, each published port by the real portmap plugin, takes ours away and prints what that left.
# Runs inside a host's root, in a network namespace of its own. Arguments: whether another has a published port (yes or no), the
# backend of portmap. Beside it lie portmap, given-back.sh, netfilter.sh and reset.sh.
set -u
other=$1 backend=$2
# shellcheck source=components/host/netfilter.sh
. /netfilter.sh
# shellcheck source=components/host/given-back.sh
. /given-back.sh
# shellcheck source=/dev/null
. <(sed -n '/^remove_empty_tables() {/,/^}/p' /reset.sh)
lib=/var/lib/plainkube
mkdir -p "$lib/state" /var/lib/cni/results

# publish NETWORK ID ADDRESS PORT
publish() {
  CNI_COMMAND=ADD CNI_CONTAINERID=$2 CNI_NETNS=/none CNI_IFNAME=eth0 CNI_PATH=/ /portmap >/dev/null <<CONFIG
{
  "cniVersion": "1.0.0", "name": "$1", "type": "portmap", "backend": "$backend", "snat": true,
  "runtimeConfig": { "portMappings": [{ "hostPort": $4, "containerPort": 80, "protocol": "tcp" }] },
  "prevResult": {
    "cniVersion": "1.0.0", "interfaces": [{ "name": "eth0", "sandbox": "/none" }], "ips": [{ "address": "$3/24", "interface": 0 }]
  }
}
CONFIG
}
dump() {
  { iptables-save; ip6tables-save; } 2>/dev/null | sed '/^#/d; s/ \[.*//'
  nft list ruleset 2>/dev/null
}
id() { sha256sum <<<"$1" | cut -d' ' -f1; }

iptables --append INPUT --protocol tcp --dport 9999 --match comment --comment plainkube-other --jump DROP
iptables --table nat --append POSTROUTING --source 172.31.9.0/24 --jump MASQUERADE
[ "$other" = no ] || publish other "$(id other)" 172.31.7.2 8088
note_before /opt/plainkube 2>/dev/null
dump >/before

publish plainkube "$(id ours)" 10.244.0.5 18080
touch "/var/lib/cni/results/plainkube-$(id ours)-eth0"
iptables --table nat --new-chain KUBE-SERVICES
iptables --table nat --append PREROUTING --jump KUBE-SERVICES
iptables --table mangle --new-chain KUBE-KUBELET-CANARY
iptables --append FORWARD --source 10.244.0.0/16 --match comment --comment plainkube --jump ACCEPT
ip6tables --table nat --new-chain KUBE-KUBELET-CANARY
nft add table ip kube-proxy
nft add table ip plainkube
echo "ours: $(dump | grep -cE 'dport 18080 .*(to|to-destination) 10\.244\.0\.5')"

remove_iptables host-ports && remove_nftables host-ports || exit
echo "ours without host ports: $(dump | grep -c 18080) $(dump | grep -cE '^:KUBE-|comment plainkube -j|^table ip (kube-proxy|plainkube)')"
remove_iptables all && remove_nftables all && remove_empty_tables || exit
diff /before <(dump) && echo "as before"
