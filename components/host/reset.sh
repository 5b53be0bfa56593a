# shellcheck shell=bash
# Gives this host back: stops and removes all that plainkube put here, and nothing else. Runs as root, and again after
# it was cut off: the mark that the host is ours goes last.
# The lines before this script set: owner, the mark that claim.sh left (cluster and node); claimed, folders
# that were empty before; containerd_run, where its socket and tasks lie; ctr, its client; and the functions of given-back.sh,
# netfilter.sh and containers.sh.
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

# What iptables made of nftables to put our rules into, and that nobody has put a rule into since: its base chains, then its tables.
remove_empty_tables() {
  local family name chain listed used
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
    listed=$(nft list table "$family" "$name") || continue
    used=$(grep -vE '^[[:space:]]*(table .*|chain [A-Z]+ \{|type .* policy accept;|\}|)$' <<<"$listed")
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

# What the claims have noted of the host's roles: what never ran here is not looked for, as it would be somebody else's.
has_been() { [ ! -e "$lib/state/roles" ] || grep -qxF "$1" "$lib/state/roles"; }

# Containers: their processes, then runtime, network and mounts.
if has_been worker; then find_sockets; fi
client=("$ctr" --address "$containerd_run/containerd.sock" --namespace k8s.io)
if [ -S "$containerd_run/containerd.sock" ] && systemctl --quiet is-active plainkube-containerd.service; then
  for id in $("${client[@]}" tasks list --quiet); do
    timeout 20 "${client[@]}" tasks delete --force "$id" >/dev/null 2>&1
  done
fi
stop plainkube-containerd.service
if has_been worker; then end_containers; fi
stop kube-scheduler.service kube-controller-manager.service kube-apiserver.service etcd.service
stop "${ours[@]}"

if has_been worker; then try remove_pod_network; fi
ip route flush proto 112 2>/dev/null
if vxlan=$(cat /run/plainkube/vxlan 2>/dev/null) && [ -e "/sys/class/net/$vxlan" ]; then try ip link delete "$vxlan"; fi

if has_been worker; then try unmount /var/lib/kubelet; fi
for dir in /run/plainkube "$lib" $claimed; do try unmount "$dir"; done

if has_been network; then
  try remove_iptables
  try remove_nftables
  try remove_empty_tables
  forget_connections
fi
if has_been worker; then remove_cgroups; fi
# Before the files: one of them tells what kube-proxy sets.
# Once: a run after this one would not know the files, and what was changed meanwhile is the host's.
if set_back_sysctls; then rm -f "$lib/state/sysctl.before"; else failures+=("set_back_sysctls"); fi
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
    try empty "$path"
    try give_back_volumes "$path" "$mode" "$made"
  done <"$lib/state/volumes"
fi

for dir in $claimed; do
  try empty "$dir"
  remove_folder "$dir"
done
if has_been worker; then
  try empty /var/lib/kubelet
  remove_folder /var/lib/kubelet
  # Logs of our pods, and the links to them.
  for path in /var/log/pods/*; do
    if [ -e "$path" ] && ! grep -qsxF "${path##*/}" "$lib/state/pod-logs.before"; then try rm -rf "$path"; fi
  done
fi
if has_been worker && [ -d /var/log/containers ]; then try find /var/log/containers -maxdepth 1 -xtype l -lname '/var/log/pods/*' -delete; fi
remove_shared_folders
try rm -rf /etc/plainkube /var/log/plainkube
if [ ${#failures[@]} -gt 0 ]; then
  printf 'plainkube: %s was not reset whole; these steps failed:\n' "$(hostname)" >&2
  printf '  - %s\n' "${failures[@]}" >&2
  echo "Correct what stops them, then run the same command again ('pulumi up' or 'pulumi destroy'): it goes on where it stopped." >&2
  exit 1
fi
rm -rf /run/plainkube "$lib"
echo "$owner reset"
