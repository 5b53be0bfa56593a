# shellcheck shell=bash
# Gives this host back: stops and removes all that plainkube put here, and nothing else. Runs as root, and again after
# it was cut off: the mark that the host is ours goes last.
# The lines before this script set: owner, the mark that claim.sh left (cluster and node); claimed, folders
# that were empty before; containerd_run, where its socket and tasks lie; ctr, its client; and the functions of netfilter.sh.
set -uo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

: "${owner:?}" "${claimed:?}" "${containerd_run:?}" "${ctr:?}"
lib=/var/lib/plainkube
# A claim that was cut off before its mark has left empty folders, and the mark beside its place.
if [ ! -e "$lib/state/owner" ]; then
  rm -f "$lib"/state/owner.*
  rmdir "$lib/state" "$lib" 2>/dev/null
fi
if [ "$(cat "$lib/state/owner" 2>/dev/null)" != "$owner" ]; then
  echo "nothing of $owner here"
  exit 0
fi
failures=()
try() { "$@" || failures+=("$*"); }

# What still runs here of an `up` whose connection was cut comes to its end first.
for lock in "$lib"/state/lock.*; do
  if [ -e "$lock" ]; then flock -w 120 "$lock" true; fi
done

# Units, those that use others first.
mapfile -t files < <(cat "$lib"/state/files.* 2>/dev/null | sort -u)
mapfile -t ours < <(printf '%s\n' "${files[@]}" | sed -n 's|^/etc/systemd/system/||p')
stop() {
  local unit
  for unit in "$@"; do
    # One whose file is gone was stopped by an earlier run.
    case " ${ours[*]} " in *" $unit "*) [ ! -e "/etc/systemd/system/$unit" ] || try systemctl disable --now --quiet "$unit" ;; esac
  done
}
stop kubelet.service kube-proxy.service plainkube-routes.service flanneld.service

# Containers: their processes, then runtime, network and mounts.
# Sockets of shims lie in a folder that all containerds of a host share; the tasks say which are ours.
mapfile -t sockets < <(grep -rhoE '/run/containerd/s/[0-9a-f]{64}' "$containerd_run/io.containerd.runtime.v2.task" 2>/dev/null | sort -u)
client=("$ctr" --address "$containerd_run/containerd.sock" --namespace k8s.io)
if [ -S "$containerd_run/containerd.sock" ] && systemctl --quiet is-active plainkube-containerd.service; then
  for id in $("${client[@]}" tasks list --quiet); do
    timeout 20 "${client[@]}" tasks delete --force "$id" >/dev/null 2>&1
  done
fi
stop plainkube-containerd.service
# Shims outlive containerd; ours are known by the socket that they were started with (their name is their content's).
for pid in /proc/[0-9]*; do
  if tr '\0' ' ' 2>/dev/null <"$pid/cmdline" | grep -qF -- " -address $containerd_run/containerd.sock "; then
    cat "$pid"/task/*/children | xargs --no-run-if-empty kill -KILL
    kill -KILL "${pid#/proc/}"
  fi
done 2>/dev/null
rm -f "${sockets[@]}"
stop kube-scheduler.service kube-controller-manager.service kube-apiserver.service etcd.service
stop "${ours[@]}"

sed -n 's|.*"netns":"\([^"]*\)".*|\1|p' /var/lib/cni/results/plainkube-* 2>/dev/null | sort -u | while read -r netns; do
  ip netns delete "${netns##*/}" 2>/dev/null
done
for result in /var/lib/cni/results/plainkube-*-eth0; do
  id=${result#*/plainkube-}
  rm -f "$result" "/var/lib/cni/results/cni-loopback-${id%-eth0}-lo"
done
if ip link show plainkube0 >/dev/null 2>&1; then
  ip -o link show master plainkube0 | sed 's/^[0-9]*: \([^@:]*\).*/\1/' | while read -r port; do ip link delete "$port" 2>/dev/null; done
  try ip link delete plainkube0
fi
ip route flush proto 112 2>/dev/null
if vxlan=$(cat /run/plainkube/vxlan 2>/dev/null) && [ -e "/sys/class/net/$vxlan" ]; then try ip link delete "$vxlan"; fi

# A folder may be a link to another disk: what it leads to is emptied, the link stays.
real() { readlink -f -- "$1"; }
unmount() {
  awk -v d="$1/" 'index($2 "/", d) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mount; do
    # The folder itself may be a mount of the host's own.
    [ "$mount" = "$1" ] || umount "$mount" || umount --lazy "$mount"
  done
}
for dir in /var/lib/kubelet /run/plainkube "$lib" $claimed; do unmount "$(real "$dir")"; done

try remove_iptables
if command -v nft >/dev/null; then
  # Tables that iptables made for us, and that nobody has put a rule into since.
  nft list tables 2>/dev/null | grep -xE 'table (ip|ip6) (nat|filter|mangle)' | while read -r table; do
    if grep -qxF "$table" "$lib/state/nft-tables.before"; then continue; fi
    read -r _ family name <<<"$table"
    used=$(nft list table "$family" "$name" | grep -vE '^[[:space:]]*(table .*|chain [A-Z]+ \{|type .* policy accept;|\}|)$')
    [ -n "$used" ] || nft delete table "$family" "$name"
  done
fi
try remove_nftables

# Cgroups that a kubelet leaves, and those that systemd does not see empty where units were left processes to (cgroup v1).
for unit in $(systemctl list-units --all --plain --no-legend 'kubepods*.slice' 2>/dev/null | awk '{ print $1 }' | sort -r); do
  systemctl stop "$unit" 2>/dev/null
done
cgroups=(-type d '(' -path '*/kubepods*' -o -path '*/system.slice/plainkube-containerd.service*' -o -path '*/system.slice/kubelet.service*' ')')
for _ in $(seq 50); do
  find /sys/fs/cgroup -depth "${cgroups[@]}" -exec rmdir {} + 2>/dev/null
  [ -n "$(find /sys/fs/cgroup "${cgroups[@]}" 2>/dev/null)" ] || break
  sleep 0.1
done

for path in "${files[@]}"; do try rm -f "$path" "$path.plainkube-new"; done
if [ ${#ours[@]} -gt 0 ]; then
  try systemctl daemon-reload
  systemctl reset-failed --quiet "${ours[@]}" 2>/dev/null
fi
if [ -f "$lib/state/sysctl.before" ]; then sysctl --quiet --load "$lib/state/sysctl.before" 2>/dev/null; fi

if [ "$(cat "$lib/state/network-online.before" 2>/dev/null)" = inactive ]; then systemctl stop network-online.target; fi

# Volumes, and the folders that were made for them.
if [ -f "$lib/state/volumes" ]; then
  while read -r mode made path; do
    [ -d "$path" ] || continue
    try find "$(real "$path")" -mindepth 1 -xdev -delete
    if [ "$mode" != - ]; then try chmod "$mode" "$path"; fi
    case $made in - | "$lib"/*) continue ;; esac
    while rmdir "$path" 2>/dev/null && [ "$path" != "$made" ]; do path=${path%/*}; done
  done <"$lib/state/volumes"
fi

for dir in /var/lib/kubelet $claimed; do
  if [ -d "$dir" ]; then try find "$(real "$dir")" -mindepth 1 -xdev -delete; fi
  rmdir "$dir" 2>/dev/null
done
try rm -rf /var/log/pods /var/log/containers
mountpoint --quiet /run/netns || rmdir /run/netns 2>/dev/null
rmdir /var/lib/cni/networks /run/containerd/s /run/containerd/fifo /run/containerd /var/lib/cni/results /var/lib/cni/cache /var/lib/cni 2>/dev/null
try rm -rf /etc/plainkube /var/log/plainkube
if [ ${#failures[@]} -gt 0 ]; then
  printf 'plainkube: %s was not reset whole; these steps failed:\n' "$(hostname)" >&2
  printf '  - %s\n' "${failures[@]}" >&2
  echo "Correct what stops them, then run 'pulumi destroy' again: it goes on where it stopped." >&2
  exit 1
fi
rm -rf /run/plainkube "$lib"
echo "$owner reset"
