#!/usr/bin/env bash
# Prints what a host is, a line a fact: files with type, mode, owner, hash or target, capabilities, users, units, network, netfilter of
# every tool, mounts, namespaces, cgroups, processes, sockets, kernel settings. Compared before the first `up` and after
# `destroy`; what changes there by itself is left out here, each thing by its name and with the reason.
# No stop at an empty section: the test counts them.
set -u
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
section() { sed "s|^|$1 |"; }
work=$(mktemp -d /dev/shm/record-XXXXXX)
trap 'rm -rf "$work"' EXIT

# Files that are the kernel's own view, or that live by themselves.
left_out=(
  # Kernel file systems: what matters of them has sections of its own.
  /proc /sys
  # Terminals and the like come with each session.
  /dev/pts
  # Logs: the journal; logins (wtmp and lastlog, btmp of failed ones).
  /var/log/journal /run/log/journal /var/log/wtmp /var/log/btmp /var/log/lastlog /run/utmp
  # systemd's notes of what runs: sockets of logging, inhibitors and sessions, the last run of each unit, credentials.
  /run/systemd/journal /run/systemd/inhibit /run/systemd/sessions /run/systemd/users /run/systemd/units /run/systemd/propagate /run/systemd/seats
  # The folder of units of the moment, which systemd keeps; the units themselves are listed below.
  /run/systemd/transient
  # The seed of random numbers, the clock of the last boot, last runs of timers.
  /var/lib/systemd/random-seed /var/lib/systemd/timesync /var/lib/systemd/timers
  # The number of a process, another after a reboot; the process itself is listed below.
  /run/sshd.pid
  # Folders of users that are logged in.
  /run/user
  # Private folders of systemd's services, named by chance at each start.
  /tmp/systemd-private-* /var/tmp/systemd-private-*
  # The package manager's own: what it fetched, and its locks.
  /var/cache/apt /var/lib/apt/lists /var/lib/dpkg/lock /var/lib/dpkg/lock-frontend
  # sudo's notes of who has been lectured and asked.
  /run/sudo /var/lib/sudo
)
prune=(-path "$work")
for path in "${left_out[@]}"; do prune+=(-o -path "$path"); done

# Each with its user and command line, but this session's own, the SSH server's and what systemd starts on demand.
for pid in /proc/[0-9]*; do
  if [ "$(cut -d ' ' -f 6 "$pid/stat" 2>/dev/null)" = "$(cut -d ' ' -f 6 /proc/$$/stat)" ]; then continue; fi
  case $(cat "$pid/comm" 2>/dev/null) in '' | sshd | sshd-session | systemd-timedat | systemd-hostnam | systemd-localed) ;;
    *) printf '%s %s\n' "$(stat -c %U "$pid")" "$(tr '\0' ' ' <"$pid/cmdline")" ;;
  esac
done 2>/dev/null >"$work/processes"
section process <"$work/processes"

# Every file system but the kernel's, and containers' roots; each by itself, so that one below another is not seen twice.
roots=()
while read -r path; do
  if [ -d "$path" ]; then roots+=("$path"); fi
done < <(awk '$3 ~ /^(tmpfs|devtmpfs|mqueue|ext[234]|xfs|btrfs|f2fs)$/ || $2 == "/" { print $2 }' /proc/self/mounts | sort -u)
# A device that is mounted over a file looks like one.
while read -r path; do
  if [ ! -d "$path" ]; then prune+=(-o -path "$path"); fi
done < <(awk '{ print $2 }' /proc/self/mounts)
find "${roots[@]}" -xdev \( "${prune[@]}" \) -prune -o -type f -fprintf "$work/names" '%p\0' -printf '%m %u:%g %p\n' -o \
  -fprintf "$work/nodes" '%y %m %u:%g %p %l\n' >"$work/files"
xargs -0 sha256sum <"$work/names" 2>/dev/null | sed 's/^\\//' | awk '{ print substr($0, 67), $1 }' >"$work/sums" &
section node <"$work/nodes"
# Mode, owner and path; `+` marks an access control list.
xargs -0 ls -dl --time-style=+ <"$work/names" | awk '$1 ~ /\+$/' | section acl
getcap -r "${roots[@]}" 2>/dev/null | sort -u | section capability

getent passwd | section user
getent group | section group

systemctl list-unit-files --no-legend --no-pager | awk '{ print $1, $2 }' | section unit-file
# A unit that is inactive is not there; sessions, and services that end when nobody asks them, are of whoever logs in.
systemctl list-units --all --no-legend --no-pager --plain | awk '$3 != "inactive" { print $1, $2, $3, $4 }' |
  grep -vE '^(session-|user@|user-runtime-dir@|run-user-|user-[0-9]+\.slice|ssh@|systemd-(timedated|hostnamed|localed)\.service)' | section unit
systemctl list-jobs --no-legend --no-pager | awk '{ print $2, $3 }' | section job

# Without what counts: numbers of links and of the other ends of cables, timers of bridges.
ip -o -details link | sed -E 's/^[0-9]+: //; s/@if[0-9]+//; s/ (qlen|link-netnsid|[a-z_]+_timer) +[0-9.]+//g' | section link
bridge fdb show permanent 2>/dev/null | section fdb
# Whether an address is still being tried is no setting.
ip -o address | sed -E 's/^[0-9]+: //; s/ tentative//' | section address
ip -4 route show table all | section route
ip -6 route show table all | section route6
ip -4 rule | section rule
ip -6 rule | section rule6
ip netns list | awk '{ print $1 }' | section netns
for tool in iptables-legacy ip6tables-legacy iptables-nft ip6tables-nft; do
  "$tool-save" 2>/dev/null | sed '/^#/d; s/ \[[0-9:]*\]$//' | awk -v tool="$tool" '/^\*/ { table = substr($0, 2) } { print tool, table, $0 }'
done | section iptables
# Counters of rules count.
nft list ruleset | sed -E 's/packets [0-9]+ bytes [0-9]+/packets - bytes -/' | awk '
  /^table/ { table = $2 " " $3; part = "-" } /^\t(chain|set|map)/ { part = $1 " " $2 } { print table, part, $0 }' | section nft
ipset save | section ipset
# Of connections those with what is neither this host, its network nor the test's own things (172.31.0.0/16).
conntrack -L 2>/dev/null | grep -oE '(src|dst)=[^ ]+' | grep -vE '=(0\.|127\.|10\.90\.23\.|172\.31\.|22[4-9]\.|::1$|f[ef])' | section connection

# Numbers and names that are another at each boot are no facts; nor is the overlay's UUID, which the kernel has when it is used first.
awk '{ $1 = $2 = $3 = ""; print }' /proc/self/mountinfo |
  sed -E 's/(shared|master):[0-9]+/\1/g; s/ [^ ]*\/\/deleted / deleted /; s/,uuid=on\>//' | section mount
# Kinds of namespaces, of processes that are not of this session.
for kind in cgroup ipc net pid time user uts; do
  printf '%s %s\n' "$kind" "$(readlink /proc/[0-9]*/ns/$kind 2>/dev/null | sort -u | wc -l)"
done | section namespace
{ tail -n +2 /proc/sysvipc/shm; tail -n +2 /proc/sysvipc/sem; tail -n +2 /proc/sysvipc/msg; } | awk '{ print $1, $2 }' | section ipc
{ find /sys/fs/cgroup -mindepth 1 -type d; find /sys/fs/cgroup -name cgroup.subtree_control -exec grep -H . {} +; } 2>/dev/null |
  grep -vE '/(session-|user@|user-[0-9]+\.slice|ssh@|systemd-(timedated|hostnamed|localed)\.service)' | section cgroup
ss -Hlntuxp | awk '{ print $1, $5, $NF }' | sed -E 's/(pid|fd)=[0-9]+,?//g' | section socket
# Modules and keyrings are the machine's, and shared by all labs on it.
# Counters, secrets, and limits that the kernel computes from free memory are no settings.
sysctl -a 2>/dev/null | grep -E '^(net\.|(vm|kernel|fs)\.)' |
  grep -E '^(net\.|vm\.(overcommit|panic|max_map)|kernel\.(panic|keys\.|pid_max|threads-max)|fs\.(inotify|file-max|nr_open))' |
  grep -vE '^net\.(netfilter\.nf_conntrack_count|ipv4\.(tcp_fastopen_key|.*\.stable_secret))' | section sysctl

wait
paste -d' ' <(sort -k3 "$work/files") <(sort "$work/sums" | awk '{ print $NF }') | section file
