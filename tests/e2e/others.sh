#!/usr/bin/env bash
# Puts things of somebody else's on a host: what a container runtime, a firewall and an administrator leave there. With the argument
# `container` also a runtime that runs one, published on port 8088, from what lies in /var/lib/other/bin.
set -euo pipefail
umask 022

# Files, users, units.
useradd --system --no-create-home other
install -d -m 0750 -o other /etc/plainkube-other /opt/other /opt/plainkube-other
echo kept >/etc/plainkube-other/kept
mkdir -p /etc/containerd /etc/cni/net.d /opt/cni/bin /var/lib/cni/results /var/lib/cni/networks/other /var/log/containers
echo '# of another' >/etc/containerd/config.toml
echo of another >/var/lib/cni/results/other-0-eth0
echo of another >/var/log/containers/other.log
ln -s /opt/other /opt/other-link
printf '[Service]\nExecStart=/bin/false\n' >/etc/systemd/system/other-failed.service
systemctl daemon-reload
systemctl start other-failed.service || :

# Network: a bridge, a namespace, a table of routes.
ip link add other1 type bridge
ip address add 172.31.8.1/24 dev other1
ip link set other1 up
ip netns add other
ip rule add pref 1000 from 172.31.99.0/24 table 100
ip route add blackhole 172.31.98.0/24 table 100
ip -6 rule add pref 1000 from fd00:99::/64 table 100

# Netfilter by every tool.
ipset create other hash:net
ipset add other 172.31.97.0/24
for tool in iptables ip6tables; do
  "$tool" --table filter --new-chain OTHER
  "$tool" --table filter --append OTHER --jump RETURN
  "$tool" --table filter --append INPUT --protocol tcp --dport 9999 --match comment --comment plainkube-other --jump OTHER
  "$tool" --table mangle --append PREROUTING --protocol tcp --dport 9999 --jump MARK --set-mark 0x77
done
iptables --table filter --append INPUT --match set --match-set other src --jump DROP
iptables-legacy --append INPUT --protocol tcp --dport 9998 --jump DROP
iptables --table nat --append POSTROUTING --source 172.31.9.0/24 --jump MASQUERADE
nft --file - <<'RULES'
table inet other {
  set ports { type inet_service; elements = { 9997 } }
  chain input { type filter hook input priority 10; tcp dport @ports drop; }
}
RULES

if [ "${1:-}" != container ]; then
  # A host that forwards nothing, but for one interface, and takes no redirects; and empty folders of a kubelet that was removed.
  sysctl --quiet --write net.ipv4.ip_forward=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.other1.forwarding=1
  sysctl --quiet --write net.netfilter.nf_conntrack_tcp_timeout_established=7200
  install -d -m 0711 /var/lib/kubelet /var/log/pods
  exit
fi

sysctl --quiet --write net.ipv4.ip_forward=1
mv /var/lib/other/bin/{bridge,host-local,loopback,portmap} /opt/cni/bin/
cat >/etc/cni/net.d/10-other.conflist <<'CONFIG'
{
  "cniVersion": "1.0.0",
  "name": "other",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "other0",
      "isGateway": true,
      "ipMasq": true,
      "ipMasqBackend": "BACKEND",
      "ipam": { "type": "host-local", "ranges": [[{ "subnet": "172.31.7.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }] }
    },
    {
      "type": "portmap",
      "backend": "BACKEND",
      "snat": true,
      "runtimeConfig": { "portMappings": [{ "hostPort": 8088, "containerPort": 8080, "protocol": "tcp" }] }
    }
  ]
}
CONFIG
sed -i "s/BACKEND/${2:-iptables}/" /etc/cni/net.d/10-other.conflist
cat >/etc/containerd/config.toml <<'CONFIG'
version = 3
root = "/var/lib/other/containerd"
state = "/run/other/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
address = "/run/other/containerd/containerd.sock"
CONFIG
cat >/etc/systemd/system/other-containerd.service <<'UNIT'
[Service]
Type=notify
Environment=PATH=/var/lib/other/bin:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/var/lib/other/bin/containerd --config /etc/containerd/config.toml
KillMode=process
Delegate=yes
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --quiet --now other-containerd.service
ctr=(/var/lib/other/bin/ctr --address /run/other/containerd/containerd.sock)
"${ctr[@]}" images import --local /var/lib/other/bin/workload.tar >/dev/null
"${ctr[@]}" run --detach --cni "$("${ctr[@]}" images list --quiet)" other
