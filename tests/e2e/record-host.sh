#!/usr/bin/env bash
# Prints what a host is, a line a fact: files with type, mode, owner and hash, units, network, netfilter, mounts, cgroups,
# processes, sockets, kernel settings. Left out is what lives by itself: logs, caches of systemd, temporary files.
# No stop at an empty section: the test counts them.
set -u
export LC_ALL=C
section() { sed "s|^|$1 |"; }

find / /var/lib -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log \
  -o -path /var/lib/systemd -o -path /var/cache -o -path /root/.ssh \) -prune -o -type f -printf '%m %u:%g %p\n' | sort -u >/run/record-files
cut -d' ' -f3- /run/record-files | tr '\n' '\0' | xargs -0 sha256sum | awk '{ print $1 }' | paste -d' ' /run/record-files - | section file
rm /run/record-files
find / /var/lib /run -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run/systemd -o -path /run/log -o -path /run/user -o -path /tmp -o -path /var/tmp \
  -o -path /var/log -o -path /var/lib/systemd \) -prune -o ! -type f -printf '%y %m %u:%g %p %l\n' | sort -u | section node
find /var/log -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | section log
systemctl list-unit-files --no-legend --no-pager | awk '{ print $1, $2 }' | sort | section unit-file
systemctl list-units --all --no-legend --no-pager --plain | awk '$1 !~ /^(session|user|run-user|systemd-(timedated|hostnamed|localed))|\.device$|\.scope$/ && $3 != "inactive" { print $1, $3 }' |
  grep -vE '^(apt|dpkg|man-db|logrotate|e2scrub|fstrim|systemd-tmpfiles|phpsessionclean|ssh@)' | sort | section unit
ip -o link | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/ qlen.*//; s/ state [A-Z]*//' | awk '{ print $1, $2 }' | sort | section link
ip -o -4 address | awk '{ print $2, $4 }' | sort | section address
ip -4 route show table all | sort | section route
ip rule | section rule
{ iptables-save; ip6tables-save; } | grep -v '^#' | sed 's/\[[0-9:]*\]//' | section iptables
nft list ruleset | section nft
ipset list -name | section ipset
awk '{ print $2, $3 }' /proc/self/mounts | sort | section mount
find /sys/fs/cgroup -mindepth 2 -type d | grep -vE '\.scope|user\.slice|systemd-(timedated|hostnamed|localed)|ssh@' | sort | section cgroup
cat /proc/[0-9]*/comm 2>/dev/null | grep -vE '^(sshd|bash|sh|ps|grep|sort|sed|sudo|systemd-(timedate|hostname|locale).*|kworker.*)$' | sort -u | section process
ss -Hltun | awk '{ print $1, $5 }' | sort -u | section socket
sysctl -a 2>/dev/null | grep -E '^(net\.(ipv4|ipv6|bridge|netfilter)\.|vm\.(overcommit|panic)|kernel\.(panic|keys\.root))' |
  grep -vE 'conf\.(lo|default|all)\.stable|nf_conntrack_count|neigh\.|random|tcp_fastopen_key|fib_multipath' | sort | section sysctl
