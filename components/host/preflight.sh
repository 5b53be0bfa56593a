# shellcheck shell=bash
# Looks whether this host can take what its roles bring and reports every problem at once. Changes nothing but its own
# state folder, which marks the host as this node, and loads the modules whose settings it notes there. Runs as root.
# The lines before this script set: name, roles, ports, units, arch, need_mib, service_address, owner,
# rising (settings that a cluster never lowers, name=value), netfilter (iptables, nftables or none), udp_ports, address, vxlan_mtu (least MTU of the host's interface; empty without VXLAN),
# volumes (a folder of volumes, or unset), fixed (settings that a cluster keeps for life), cgroup_v1 (true: allowed), claimed (folders that will be filled and removed),
# named_by_host (true: the kubelet registers with the host's own name). The second
# argument is the clock of the machine that runs Pulumi, in seconds since 1970; it is given at the first `up` only.
set -euo pipefail
umask 077
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

: "${name:?}" "${roles:?}" "${ports:?}" "${units:?}" "${arch:?}" "${need_mib:?}" "${service_address:?}" "${owner:?}" "${fixed:?}" "${cgroup_v1:?}" "${rising:?}" \
  "${netfilter:?}" "${udp_ports?}" "${address:?}" "${vxlan_mtu?}" "${claimed:?}" "${named_by_host:?}"
now=${2:-}
problems=()
problem() { problems+=("$1: got $2; expected $3; $4."); }

[ "$(id -u)" = 0 ] || problem "user" "uid $(id -u)" "root or passwordless sudo" "log in as root, or allow sudo without password"

os=$(uname -s)
[ "$os" = Linux ] || problem "operating system" "$os" "Linux" "use a Linux host"
case $(uname -m) in x86_64) machine=amd64 ;; aarch64) machine=arm64 ;; *) machine=$(uname -m) ;; esac
[ "$machine" = "$arch" ] || problem "architecture" "$machine" "$arch" "use a host of that architecture"
[ "$(cat /proc/1/comm)" = systemd ] || problem "init" "$(cat /proc/1/comm)" "systemd" "use a host that boots with systemd"

tools=(base64 curl flock ip mount sha256sum sysctl systemctl umount)
case $netfilter in nftables) tools+=(conntrack nft) ;; iptables) tools+=(conntrack iptables) ;; esac
for tool in "${tools[@]}"; do
  command -v "$tool" >/dev/null || problem "tool $tool" "none on PATH" "$tool" "install the package that holds it"
done

if [ "$named_by_host" = true ] && [ "$(hostname)" != "$name" ]; then
  problem "host name" "$(hostname)" "$name" "set it (hostnamectl set-hostname $name), or name the host so in plainkube:hosts"
fi
before=$(cat /var/lib/plainkube/state/owner 2>/dev/null || :)
if [ -n "$before" ] && [ "$before" != "$owner" ]; then
  problem "leftovers" "node $before of plainkube" "none, or node $owner" "destroy that stack, or remove that node from its stack, first"
fi
if [ -n "$before" ] && [ "$(cat /var/lib/plainkube/state/fixed)" != "$fixed" ]; then
  problem "a setting that a cluster keeps for life" "$fixed" "$(cat /var/lib/plainkube/state/fixed)" "set it back, or run 'pulumi destroy' first"
fi
for setting in $rising; do
  past=$(sed -n "s/^${setting%%=*}=//p" /var/lib/plainkube/state/rising 2>/dev/null || :)
  now_set=${setting#*=}
  if [ -n "$past" ] && [ "$(printf '%s\n' "$past" "$now_set" | sort -V | tail -n 1)" != "$now_set" ]; then
    problem "${setting%%=*}, which only rises" "$now_set" "at least $past: what that has stored, this cannot read" "set it back, or run 'pulumi destroy' first"
  fi
done
if [ -z "$before" ]; then
  for path in /etc/kubernetes/manifests /var/lib/kubelet /var/lib/rancher /var/lib/k0s; do
    if [ -d "$path" ] && [ -n "$(ls -A "$path")" ]; then
      problem "leftovers" "$path" "no files of another cluster" "reset that cluster (kubeadm reset, or its own uninstaller)"
    fi
  done
  for path in $claimed; do
    if [ -d "$path" ] && [ -n "$(ls -A "$path")" ]; then
      problem "leftovers" "$path" "a folder that is empty or not there" "move its files away, and stop what uses them"
    fi
  done
  # free_ports PROTOCOL STATE PORTS: no socket in this state, a number of the kernel's, has one of the ports.
  free_ports() {
    local protocol=$1 taken port
    taken=$(awk -v state="$2" '$4 == state { split($2, a, ":"); print a[2] }' "/proc/net/$protocol" "/proc/net/${protocol}6" 2>/dev/null || :)
    for port in $3; do
      case $'\n'$taken$'\n' in
        *$'\n'"$(printf '%04X' "$port")"$'\n'*) problem "${protocol^^} port $port" "in use" "free" "stop what listens on it ('ss --$protocol -lnp sport = :$port')" ;;
      esac
    done
  }
  free_ports tcp 0A "$ports"
  free_ports udp 07 "$udp_ports"
  for unit in $units; do
    if systemctl cat "$unit" >/dev/null 2>&1; then
      problem "unit $unit" "one of the host's own" "none" "remove it ('systemctl cat $unit' shows where it comes from)"
    fi
  done
  skew=$(($(date +%s) - ${now:-$(date +%s)}))
  # The way here may have taken a while, so that only being behind is certain.
  if [ "$skew" -lt -60 ] || [ "$skew" -gt 240 ]; then problem "clock" "$skew s off" "at most 60 s" "set the clock, best by NTP (timedatectl set-ntp true)"; fi
  free_mib=$(df -Pm /opt | awk 'NR == 2 { print $4 }')
  [ "$free_mib" -ge "$need_mib" ] || problem "disk of /opt" "$free_mib MiB free" "$need_mib MiB" "free space or grow the disk"
fi

if [ "$netfilter" = nftables ]; then
  kernel=$(uname -r)
  # kube-proxy's own limit: tools of that age do not break on its rules.
  if [ "$(printf '%s\n' 5.13 "$kernel" | sort -V | head -n 1)" != 5.13 ]; then
    problem "kernel" "$kernel" "5.13 or newer for kube-proxy's nftables mode" "use a newer kernel, or set network.kubeProxyMode to iptables"
  fi
  if command -v nft >/dev/null && ! nft list tables >/dev/null 2>&1; then
    problem "kernel feature" "no nf_tables" "nf_tables" "install the kernel's modules, or set network.kubeProxyMode to iptables"
  fi
fi
if [ -n "$vxlan_mtu" ]; then
  [ -e /sys/module/vxlan ] || modprobe --dry-run --quiet vxlan 2>/dev/null || problem "kernel feature" "no vxlan" "vxlan" "install the kernel's modules, or set network.podNetwork to routes"
  interface=$(ip -o -4 address show to "$address/32" | awk '{ print $2; exit }')
  mtu=$(cat "/sys/class/net/$interface/mtu" 2>/dev/null || :)
  if [ -z "$mtu" ]; then
    problem "address $address" "none of the host's interfaces" "one that has it" "correct the host's address: VXLAN needs its interface"
  elif [ "$mtu" -lt "$vxlan_mtu" ]; then
    problem "MTU of $interface" "$mtu" "$vxlan_mtu for what VXLAN sends" "set network.mtu to $((mtu - 50)) or less"
  fi
fi

volumes=${volumes:-} asked=${volumes:-}
noted=/var/lib/plainkube/state/volumes
if [ -z "$volumes" ] || grep -qs " $volumes\$" "$noted"; then
  volumes=
elif [ -e "$volumes" ] && { [ ! -d "$volumes" ] || [ -n "$(ls -A "$volumes")" ]; }; then
  problem "folder of volumes" "$volumes, with something in it" "none, or an empty folder" "empty it, or set addons.localPath to another"
fi

case " $roles " in
  *" worker "*)
    # A kubelet removes logs of pods that it does not know. On a host that is ours they are another's where they were noted.
    if [ -z "$before" ]; then
      logs=$(ls -A /var/log/pods 2>/dev/null || :)
    else
      logs=$(others_pod_logs)
    fi
    if [ -n "$logs" ]; then
      problem "leftovers" "/var/log/pods, with something in it" "none, or an empty folder" "move its files away"
    fi
    if [ "$(wc -l </proc/swaps)" -gt 1 ]; then problem "swap" "on" "off" "swapoff -a, and remove it from /etc/fstab"; fi
    if [ ! -f /sys/fs/cgroup/cgroup.controllers ] && [ "$cgroup_v1" != true ]; then
      problem "cgroup version" "1" "2" "boot with systemd.unified_cgroup_hierarchy=1, or set runtime.allowCgroupV1"
    fi
    for controller in cpu memory pids; do
      if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        grep -qw "$controller" /sys/fs/cgroup/cgroup.controllers || problem "cgroup controller" "no $controller" "$controller" "enable it on the kernel's command line"
      else
        [ -d "/sys/fs/cgroup/$controller" ] || problem "cgroup controller" "no $controller" "$controller" "enable it on the kernel's command line"
      fi
    done
    for feature in overlay:/proc/filesystems br_netfilter:/proc/sys/net/bridge/bridge-nf-call-iptables; do
      module=${feature%%:*}
      case $feature in
        overlay:*) grep -qw overlay /proc/filesystems && continue ;;
        *) [ -e "${feature#*:}" ] && continue ;;
      esac
      modprobe --dry-run --quiet "$module" 2>/dev/null || problem "kernel feature" "no $module" "$module" "install the kernel's modules"
    done
    ip route get "$service_address" >/dev/null 2>&1 || problem "route to $service_address" "none" "a default route, or one to the service CIDR" \
      "add one: without it no connection to a Service leaves the host's own programs"
    ;;
esac

if [ ${#problems[@]} -gt 0 ]; then
  printf 'plainkube: host %s is not ready, nothing was changed:\n' "$name" >&2
  printf '  - %s\n' "${problems[@]}" >&2
  exit 1
fi
mkdir -p /var/lib/plainkube/state
chmod 0755 /var/lib/plainkube
# What will be set machine-wide, by us or by a kubelet, as it was: reset sets it back, and nothing else. A role that is added
# later adds its own.
read -ra folders <<<"$claimed"
if [ ! -f /var/lib/plainkube/state/sysctl.before ]; then note_before "${folders[@]}"; fi
note_kernel "$netfilter" "$roles"
if [ -s "$noted" ]; then give_back_unused_volumes "${asked:--}"; fi
# The folder of volumes as it was: its mode, and the first folder on the way to it that is not there.
if [ -n "$volumes" ]; then
  mode=$(stat -c %a "$volumes" 2>/dev/null || echo -)
  made=- way=$volumes
  until [ -d "$way" ]; do
    made=$way
    way=${way%/*}
    way=${way:-/}
  done
  printf '%s %s %s\n' "$mode" "$made" "$volumes" >>"$noted"
fi
printf '%s\n' "$fixed" >/var/lib/plainkube/state/fixed
tr ' ' '\n' <<<"$rising" >/var/lib/plainkube/state/rising
printf '%s\n' "$owner" >/var/lib/plainkube/state/owner
echo ready
