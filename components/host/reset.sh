# shellcheck shell=bash
# Gives this host back: stops and removes all that plainkube put here, and nothing else. Runs as root, and again after
# it was cut off: the mark that the host is ours goes last.
# The lines before this script set: owner, the mark that preflight left (cluster and node); claimed, folders
# that were empty before; containerd_run, where its socket and tasks lie; ctr, its client; and the functions of given-back.sh,
# netfilter.sh and containers.sh.
set -uo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

: "${owner:?}" "${claimed:?}" "${containerd_run:?}" "${ctr:?}"
lib=/var/lib/plainkube
if [ "$(cat "$lib/state/owner" 2>/dev/null)" != "$owner" ]; then
  echo "nothing of $owner here"
  exit 0
fi
failures=()
try() { "$@" || failures+=("$*"); }

# What iptables made of nftables to put our rules into, and that nobody has put a rule into since: its base chains, then its tables.
remove_empty_tables() {
  local family name chain used
  command -v nft >/dev/null || return 0
  while read -r _ family name; do
    if [ -e "$lib/state/chains.before" ]; then
      while read -r chain; do
        was_there "$family $name $chain" || nft delete chain "$family" "$name" "$chain" 2>/dev/null
      done < <(nft list table "$family" "$name" | awk '
        $1 == "chain" { chain = $2; used = 0; next }
        $1 == "}" && chain { if (!used && base) print chain; chain = ""; base = 0; next }
        chain && / hook .* policy accept;$/ { base = 1; next }
        chain && NF { used = 1 }')
    fi
    if grep -qsxF "table $family $name" /var/lib/plainkube/state/nft-tables.before; then continue; fi
    used=$(nft list table "$family" "$name" | grep -vE '^[[:space:]]*(table .*|chain [A-Z]+ \{|type .* policy accept;|\}|)$')
    [ -n "$used" ] || nft delete table "$family" "$name"
  done < <(nft list tables 2>/dev/null | grep -xE 'table (ip|ip6) (nat|filter|mangle|raw|security)')
  return 0
}

# What the host still knows of connections with pods and Services. conntrack takes no network for the answer's side, so it is each address.
forget_connections() {
  local pods services address cidr side
  command -v conntrack >/dev/null || return 0
  read -r _ pods _ services _ <"$lib/state/fixed"
  # Behind the pods' network stands the size of a node's share.
  while read -r address; do
    for cidr in "${pods%/*}" "$services"; do
      if ! is_within "$address" "$cidr"; then continue; fi
      for side in orig-src orig-dst reply-src reply-dst; do conntrack --delete --"$side" "$address" >/dev/null 2>&1; done
    done
  done < <(conntrack --dump 2>/dev/null | grep -oE '(src|dst)=[0-9.]+' | sed 's/.*=//' | sort -u)
}
number_of() {
  local a b c d
  IFS=. read -r a b c d <<<"$1"
  echo $(((a << 24) + (b << 16) + (c << 8) + d))
}
is_within() {
  local shift=$((32 - ${2#*/}))
  [ $(($(number_of "$1") >> shift)) = $(($(number_of "${2%/*}") >> shift)) ]
}

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
find_sockets
client=("$ctr" --address "$containerd_run/containerd.sock" --namespace k8s.io)
if [ -S "$containerd_run/containerd.sock" ] && systemctl --quiet is-active plainkube-containerd.service; then
  for id in $("${client[@]}" tasks list --quiet); do
    timeout 20 "${client[@]}" tasks delete --force "$id" >/dev/null 2>&1
  done
fi
stop plainkube-containerd.service
end_containers
stop kube-scheduler.service kube-controller-manager.service kube-apiserver.service etcd.service
stop "${ours[@]}"

try remove_pod_network
ip route flush proto 112 2>/dev/null
if vxlan=$(cat /run/plainkube/vxlan 2>/dev/null) && [ -e "/sys/class/net/$vxlan" ]; then try ip link delete "$vxlan"; fi

for dir in /var/lib/kubelet /run/plainkube "$lib" $claimed; do unmount "$(real "$dir")"; done

try remove_iptables
try remove_nftables
try remove_empty_tables
forget_connections
remove_cgroups
# Before the files: one of them tells what kube-proxy sets.
try set_back_sysctls
unload_modules

for path in "${files[@]}"; do try rm -f "$path" "$path.plainkube-new"; done
if [ ${#ours[@]} -gt 0 ]; then
  try systemctl daemon-reload
  systemctl reset-failed --quiet "${ours[@]}" 2>/dev/null
fi
if [ "$(cat "$lib/state/network-online.before" 2>/dev/null)" = inactive ]; then systemctl stop network-online.target; fi

# Volumes, and the folders that were made for them.
if [ -f "$lib/state/volumes" ]; then
  while read -r mode made path; do
    [ -d "$path" ] || continue
    try find "$(real "$path")" -mindepth 1 -xdev -delete
    try give_back_volumes "$path" "$mode" "$made"
  done <"$lib/state/volumes"
fi

for dir in /var/lib/kubelet $claimed; do
  if [ -d "$dir" ]; then try find "$(real "$dir")" -mindepth 1 -xdev -delete; fi
  remove_folder "$dir"
done
# Logs of our pods, and the links to them.
for path in /var/log/pods/*; do
  if [ -e "$path" ] && ! grep -qsxF "${path##*/}" "$lib/state/pod-logs.before"; then try rm -rf "$path"; fi
done
if [ -d /var/log/containers ]; then try find /var/log/containers -maxdepth 1 -xtype l -lname '/var/log/pods/*' -delete; fi
remove_shared_folders
try rm -rf /etc/plainkube /var/log/plainkube
if [ ${#failures[@]} -gt 0 ]; then
  printf 'plainkube: %s was not reset whole; these steps failed:\n' "$(hostname)" >&2
  printf '  - %s\n' "${failures[@]}" >&2
  echo "Correct what stops them, then run 'pulumi destroy' again: it goes on where it stopped." >&2
  exit 1
fi
rm -rf /run/plainkube "$lib"
echo "$owner reset"
