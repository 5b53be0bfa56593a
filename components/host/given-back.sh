# shellcheck shell=bash
# What claim.sh notes of a host, and how it is given back. Stands before preflight.sh, claim.sh and reset.sh.

# Folders that we share with others, or that may be there and empty: those that were there stay.
shared_folders=(/var/lib/kubelet /var/log/pods /var/log/containers /run/netns /run/containerd /run/containerd/s /run/containerd/fifo
  /var/lib/cni /var/lib/cni/cache /var/lib/cni/networks /var/lib/cni/results)

# note_before FOLDER…: once, before the first change.
note_before() {
  local state=/var/lib/plainkube/state folder
  systemctl is-active network-online.target >"$state/network-online.before" || :
  nft list tables >"$state/nft-tables.before" 2>/dev/null || :
  {
    nft list chains 2>/dev/null | awk '$1 == "table" { table = $2 " " $3 } $1 == "chain" { print table, $2 }' || :
    # Without nft, or beside it. It names base chains that are not there, too.
    for family in iptables:ip ip6tables:ip6; do
      "${family%:*}-save" 2>/dev/null | awk -v family="${family#*:}" '/^\*/ { table = substr($1, 2) } /^:/ && $2 == "-" { print family, table, substr($1, 2) }' || :
    done
  } | sort -u >"$state/chains.before"
  for folder in "${shared_folders[@]}" "$@"; do
    if [ -d "$folder" ]; then stat -c '%a %n' "$folder"; fi
  done >"$state/folders.before"
  ls -A /var/log/pods >"$state/pod-logs.before" 2>/dev/null || :
}

# Logs of pods that were there before us, and still are.
others_pod_logs() {
  local name
  while read -r name; do
    if [ -e "/var/log/pods/$name" ]; then echo "$name"; fi
  done < <(cat /var/lib/plainkube/state/pod-logs.before 2>/dev/null || :)
}

# remove_folder FOLDER: an empty one that was not there before; one that was gets its mode back.
remove_folder() {
  local mode
  mode=$(sed -n "s|^\([0-7]*\) $1\$|\1|p" /var/lib/plainkube/state/folders.before 2>/dev/null)
  if [ -n "$mode" ]; then
    [ ! -d "$1" ] || chmod "$mode" "$1"
  elif ! mountpoint --quiet "$1"; then
    rmdir "$1" 2>/dev/null || :
  fi
  return 0
}

# From the inside out.
remove_shared_folders() {
  local i
  for ((i = ${#shared_folders[@]} - 1; i >= 0; i--)); do remove_folder "${shared_folders[i]}"; done
}

# give_back_volumes PATH MODE MADE: the folder's mode, or the folder with those that were made for it, as far as they are empty.
give_back_volumes() {
  local path=$1
  if [ "$2" != - ]; then chmod "$2" "$path" || return; fi
  case $3 in - | /var/lib/plainkube/*) return 0 ;; esac
  while rmdir "$path" 2>/dev/null && [ "$path" != "$3" ]; do path=${path%/*}; done
  return 0
}

# give_back_unused_volumes PATH: folders of volumes but this one, where they are empty; what is in one keeps it ours.
give_back_unused_volumes() {
  local noted=/var/lib/plainkube/state/volumes mode made path
  while read -r mode made path; do
    if [ "$path" = "$1" ] || { [ -e "$path" ] && [ -n "$(ls -A "$path")" ]; }; then
      printf '%s %s %s\n' "$mode" "$made" "$path"
    elif [ -d "$path" ]; then
      give_back_volumes "$path" "$mode" "$made"
    fi
  done <"$noted" >"$noted.new"
  mv -fT "$noted.new" "$noted"
}

# Whether kube-proxy sets conntrack's limits here; the zeros of our configuration leave them alone, and no file means its defaults.
sets_conntrack() {
  local file=/etc/plainkube/kube-proxy.yaml
  [ -e "$file" ] || return 0
  awk '/^[^ ]/ { inside = /^conntrack:/ } inside && /^  / && $2 !~ /^"?0(s|m|h)?"?$/ && $2 != "null" { found = 1 } END { exit !found }' "$file"
}

# note_sysctls KEY…: as they are before us; one that is noted stays.
note_sysctls() {
  local before=/var/lib/plainkube/state/sysctl.before noted key new=() values
  noted=$(cat "$before" 2>/dev/null || :)
  for key; do
    case $'\n'$noted in *$'\n'"$key = "*) ;; *) new+=("$key") ;; esac
  done
  # What the kernel does not have is passed over.
  if [ ${#new[@]} -eq 0 ]; then return; fi
  values=$(sysctl "${new[@]}" 2>/dev/null || :)
  [ -z "$values" ] || printf '%s\n' "$values" >>"$before"
}

# note_kernel NETFILTER ROLES: the settings that we or a kubelet of ours will change, with the modules that have them.
note_kernel() {
  local before=/var/lib/plainkube/state/sysctl.before keys=() key
  if [ "$1" != none ]; then
    load_module br_netfilter /proc/sys/net/bridge
    load_module nf_conntrack /proc/sys/net/netfilter/nf_conntrack_max
    # The kernel changes these with ip_forward; later they are what it made of them.
    if ! grep -qs '^net.ipv4.ip_forward = ' "$before"; then
      mapfile -t keys < <(sysctl --all --pattern '^net[.]ipv4[.]conf[.].*[.]forwarding$' 2>/dev/null | cut -d ' ' -f 1)
      keys+=(net.ipv4.conf.all.accept_redirects net.ipv4.ip_forward)
    fi
    keys+=(net.ipv4.conf.all.route_localnet net.bridge.bridge-nf-call-iptables)
    for key in buckets max tcp_be_liberal tcp_timeout_close_wait tcp_timeout_established udp_timeout udp_timeout_stream; do
      keys+=("net.netfilter.nf_conntrack_$key")
    done
  fi
  case " $2 " in
    *" worker "*)
      keys+=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes)
      ;;
  esac
  note_sysctls "${keys[@]}"
  touch "$before"
}

# Sets back what still has the value that we or a kubelet gave it; what was changed after us stays.
set_back_sysctls() {
  local before=/var/lib/plainkube/state/sysctl.before key value now redirects
  local -A given=(
    [net.bridge.bridge-nf-call-iptables]=1 [net.ipv4.conf.all.route_localnet]=1 [vm.overcommit_memory]=1 [vm.panic_on_oom]=0
    [kernel.panic]=10 [kernel.panic_on_oops]=1 [kernel.keys.root_maxkeys]=1000000 [kernel.keys.root_maxbytes]=25000000
  )
  [ -f "$before" ] || return 0
  if grep -qx 'net.ipv4.ip_forward = 0' "$before" && [ "$(sysctl -n net.ipv4.ip_forward)" = 1 ]; then
    # With it the kernel sets `forwarding` of every interface, and turns `accept_redirects` round.
    redirects=$(sysctl -n net.ipv4.conf.all.accept_redirects)
    sysctl --quiet --write net.ipv4.ip_forward=0 || return
    if [ "$redirects" = 0 ]; then redirects=$(sed -n 's/^net.ipv4.conf.all.accept_redirects = //p' "$before"); fi
    [ -z "$redirects" ] || sysctl --quiet --write "net.ipv4.conf.all.accept_redirects=$redirects" || return
    while read -r key; do
      # An interface that has gone since.
      sysctl --quiet --write "$key=1" 2>/dev/null || :
    done < <(sed -n 's/^\(net\.ipv4\.conf\..*\.forwarding\) = 1$/\1/p' "$before")
  fi
  while read -r key _ value; do
    case $key in
      net.ipv4.ip_forward | net.ipv4.conf.*.forwarding | net.ipv4.conf.all.accept_redirects) continue ;;
      net.netfilter.*) sets_conntrack || continue ;;
    esac
    # Gone with its module, or as it was.
    now=$(sysctl -n "$key" 2>/dev/null) || continue
    if [ "$now" = "$value" ] || [ "$now" != "${given[$key]:-$now}" ]; then continue; fi
    # Read-only in a network namespace.
    sysctl --quiet --write "$key=$value" 2>/dev/null || :
  done <"$before"
}

# A module whose settings are noted, loaded if it is not there: `proof` is one of them.
load_module() {
  local module=$1 proof=$2
  if [ -e "$proof" ] || ! modprobe --dry-run --quiet "$module" 2>/dev/null; then return 0; fi
  echo "$module" >>/var/lib/plainkube/state/modules
  modprobe --quiet "$module" || :
}

# br_netfilter sends what passes through any bridge into iptables: it goes where we loaded it and no bridge is left that may count
# on it. Other modules do nothing by themselves and stay until the next boot.
unload_modules() {
  if grep -qsx br_netfilter /var/lib/plainkube/state/modules && [ -z "$(ip -o link show type bridge)" ]; then
    modprobe --remove --quiet br_netfilter 2>/dev/null || :
  fi
}
