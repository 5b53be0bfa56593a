# shellcheck shell=bash
# Looks whether this host can take what its roles bring, and reports every problem at once, each with its remedy. Changes nothing.
# On a host of the cluster, what is the cluster's own is no problem. Runs as root. docs/preflight.md lists the checks.
# The lines before this script set: name, address, roles, ports, udp_ports, units, arch, need_mib (of /opt), need_lib_mib (of /var/lib),
# service_address, pod_cidr, service_cidr, owner (the mark that claim.sh leaves: cluster and node),
# rising (settings that a cluster never lowers, name=value), netfilter (iptables, nftables or none), open_ports (PORT/PROTOCOL that other hosts
# have to reach), vxlan_mtu (least MTU of the host's interface; empty without VXLAN), vxlan_device, vxlan_port,
# volumes (a folder of volumes, or unset), fixed (settings that a cluster keeps for life), cgroup_v1 (true: allowed), claimed (folders that
# will be filled and removed), named_by_host (true: the kubelet registers with the host's own name), resolver (true: pods get the host's name
# servers). The second argument is the clock of the machine that asks, in seconds since 1970; it is given at the first `up` only.
set -euo pipefail
umask 077
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

: "${name:?}" "${roles:?}" "${ports:?}" "${units:?}" "${arch:?}" "${need_mib:?}" "${need_lib_mib:?}" "${service_address:?}" "${pod_cidr:?}" \
  "${service_cidr:?}" "${owner:?}" "${fixed:?}" "${cgroup_v1:?}" "${rising:?}" "${netfilter:?}" "${udp_ports?}" "${open_ports:?}" "${address:?}" \
  "${vxlan_mtu?}" "${vxlan_device?}" "${vxlan_port?}" "${claimed:?}" "${named_by_host:?}" "${resolver:?}"
now=${2:-}
state=/var/lib/plainkube/state
problems=() warnings=()
# problem WHAT GOT EXPECTED REMEDY, and likewise warning: what may be right, but cannot be told from here.
entry() { printf '  %s\n    got:      %s\n    expected: %s\n    remedy:   %s' "${@//[[:cntrl:]]/ }"; }
problem() { problems+=("$(entry "$@")"); }
warning() { warnings+=("$(entry "warning: $1" "${@:2}")"); }
has() { command -v "$1" >/dev/null; }
is_filled() { [ -d "$1" ] && [ -n "$(ls -A "$1")" ]; }
# join WORD…: "a, b, c".
join() {
  local all
  printf -v all ', %s' "$@"
  printf '%s' "${all:2}"
}

[ "$(id -u)" = 0 ] || problem "user" "uid $(id -u)" "root or passwordless sudo" "log in as root, or allow sudo without password"

os=$(uname -s)
[ "$os" = Linux ] || problem "operating system" "$os" "Linux" "use a Linux host"
case $(uname -m) in x86_64) machine=amd64 ;; aarch64) machine=arm64 ;; *) machine=$(uname -m) ;; esac
[ "$machine" = "$arch" ] || problem "architecture" "$machine" "$arch" "use a host of that architecture"
[ "$(cat /proc/1/comm)" = systemd ] || problem "init" "$(cat /proc/1/comm)" "systemd" "use a host that boots with systemd"

tools=(base64 curl flock gzip ip mount sha256sum sysctl systemctl umount)
case $netfilter in nftables) tools+=(conntrack nft) ;; iptables) tools+=(conntrack iptables) ;; esac
for tool in "${tools[@]}"; do
  has "$tool" || problem "tool $tool" "none on PATH" "$tool" "install the package that holds it"
done

if [ "$named_by_host" = true ] && [ "$(hostname)" != "$name" ]; then
  problem "host name" "$(hostname)" "$name" "set it (hostnamectl set-hostname $name), or name the host so in plainkube:hosts"
fi

# What was noted here by an earlier run.
before=$(cat "$state/owner" 2>/dev/null || :)
if [ -n "$before" ] && [ "$before" != "$owner" ]; then
  problem "leftovers" "node $before of plainkube" "none, or node $owner" "destroy that stack, or remove that node from its stack, first"
fi
kept=$(cat "$state/fixed" 2>/dev/null || :)
if [ -n "$kept" ] && [ "$kept" != "$fixed" ]; then
  problem "a setting that a cluster keeps for life" "$fixed" "$kept" "set it back, or run 'pulumi destroy' first"
fi
for setting in $rising; do
  past=$(sed -n "s/^${setting%%=*}=//p" "$state/rising" 2>/dev/null || :)
  new=${setting#*=}
  if [ -z "$past" ]; then continue; fi
  if [ "$(printf '%s\n' "$past" "$new" | sort -V | tail -n 1)" != "$new" ]; then
    problem "${setting%%=*}, which only rises" "$new" "at least $past: what that has stored, this cannot read" "set it back, or run 'pulumi destroy' first"
  elif [ "${setting%%=*}" = versions.kubernetes ]; then
    IFS=. read -r _ minor _ <<<"$past"
    IFS=. read -r _ new_minor _ <<<"$new"
    if [ "$new_minor" -gt $((minor + 1)) ]; then
      problem "versions.kubernetes" "$new" "1.$((minor + 1)) at most after $past: Kubernetes is upgraded by one minor version at a time" \
        "set it to each minor version in between, and run 'pulumi up' with each; or run 'pulumi destroy' first"
    fi
  fi
done
# Before the kinds of keys were noted, they were made in another way.
if [ -n "$before" ] && [ -s /etc/plainkube/encryption.yaml ] && ! grep -qs '^encryption\.keys=' "$state/rising"; then
  problem "the key of Secrets" "one that an earlier version of this program made" "none: this version makes another, and could not read what is stored" \
    "with the earlier version set apiServer.encryption.secrets to false, run 'pulumi up', and write all Secrets anew; then run this version, and set it back (docs/security.md)"
fi
mapfile -t own_units < <(cat "$state"/files.* 2>/dev/null | sed -n 's|^/etc/systemd/system/||p')
is_own() { case " ${own_units[*]} " in *" $1 "*) ;; *) return 1 ;; esac }
own_vxlan=$([ -z "$before" ] || cat /run/plainkube/vxlan 2>/dev/null || :)

# holder INODE: the command that has this socket, with its unit or number; fails if a unit of ours has it.
holder() {
  local fd pid unit
  fd=$(find /proc/[0-9]*/fd -lname "socket:\[$1\]" -print -quit 2>/dev/null || :)
  pid=${fd#/proc/} pid=${pid%%/*}
  unit=$(grep -oE '[^/]+\.service' "/proc/${pid:-none}/cgroup" 2>/dev/null | head -n 1 || :)
  if [ -n "$unit" ] && is_own "$unit"; then return 1; fi
  echo "in use by $(cat "/proc/${pid:-none}/comm" 2>/dev/null || echo "the kernel") (${unit:-${pid:+process }${pid:-no process}})"
}
# free_ports PROTOCOL STATE PORTS: no socket in this state, a number of the kernel's, has one of the ports, but for units of ours.
free_ports() {
  local protocol=$1 sockets port hex inode got
  sockets=$(awk -v state="$2" '$4 == state { split($2, a, ":"); print a[2], $10 }' "/proc/net/$protocol" "/proc/net/${protocol}6" 2>/dev/null || :)
  for port in $3; do
    printf -v hex '%04X' "$port"
    case $'\n'$sockets in *$'\n'"$hex "*) ;; *) continue ;; esac
    if [ "$protocol" = udp ] && [ -n "$own_vxlan" ] && [ "$(port_of "$own_vxlan")" = "$port" ]; then continue; fi
    while read -r inode; do
      if got=$(holder "$inode"); then
        problem "${protocol^^} port $port" "$got" "free" "stop what listens on it ('ss --$protocol -lnp sport = :$port')"
        break
      fi
    done < <(sed -n "s/^$hex //p" <<<"$sockets")
  done
}
# port_of DEVICE: the UDP port of a VXLAN interface.
port_of() { ip -o -d link show dev "$1" 2>/dev/null | sed -n 's/.* vxlan .*dstport \([0-9]*\).*/\1/p'; }
free_ports tcp 0A "$ports"
free_ports udp 07 "$udp_ports"
# Asked for all of them first, as most hosts have none.
read -ra wanted <<<"$units"
known=$(systemctl show --property LoadState --value -- "${wanted[@]}" 2>/dev/null || echo unknown)
known=${known//not-found/}
if has systemctl && [ -n "${known//[[:space:]]/}" ]; then
  for unit in $units; do
    if ! is_own "$unit" && systemctl cat -- "$unit" >/dev/null 2>&1; then
      problem "unit $unit" "one of the host's own" "none" "remove it ('systemctl cat $unit' shows where it comes from)"
    fi
  done
fi

# Rules of packet filters, as far as their tools are here. These read what there is, and make no table.
tables=$(for tool in iptables-save iptables-legacy-save iptables-nft-save; do if has "$tool"; then "$tool" 2>/dev/null || :; fi; done)
ruleset=$(nft list ruleset 2>/dev/null || :)

# within CIDR OTHER: whether all of the one lies in the other.
within() {
  local length=${2#*/} one other
  [ "${1#*/}" -ge "$length" ] || return
  IFS=. read -r -a one <<<"${1%/*}"
  IFS=. read -r -a other <<<"${2%/*}"
  # Bits in which they differ.
  local bits=0 i
  for i in 0 1 2 3; do bits=$((bits << 8 | (${one[i]:-0} ^ ${other[i]:-0}))); done
  [ $((bits >> (32 - length))) = 0 ]
}
# leftover OF REMEDY PATH-OR-UNIT…: one problem with all of these that are here.
leftover() {
  local of=$1 remedy=$2 found=() what
  shift 2
  for what; do
    case $what in
      *.service) if [ -e "/etc/systemd/system/$what" ] || [ -e "/usr/lib/systemd/system/$what" ]; then found+=("$what"); fi ;;
      *) if is_filled "$what" || [ -f "$what" ]; then found+=("$what"); fi ;;
    esac
  done
  [ ${#found[@]} -eq 0 ] || problem "leftovers of $of" "$(join "${found[@]}")" "nothing of another cluster" "$remedy"
}
if [ -z "$before" ]; then
  leftover "kubeadm or another kubelet" "reset that cluster (kubeadm reset, or its own uninstaller), and empty these folders" \
    /etc/kubernetes/manifests /etc/kubernetes/admin.conf /etc/kubernetes/kubelet.conf /var/lib/kubelet
  leftover k3s "uninstall it (k3s-uninstall.sh or k3s-agent-uninstall.sh)" k3s.service k3s-agent.service /etc/rancher/k3s /var/lib/rancher/k3s
  leftover rke2 "uninstall it (rke2-uninstall.sh)" rke2-server.service rke2-agent.service /etc/rancher/rke2 /var/lib/rancher/rke2
  leftover k0s "uninstall it (k0s stop, k0s reset)" k0scontroller.service k0sworker.service /etc/k0s /var/lib/k0s
  leftover microk8s "uninstall it (snap remove --purge microk8s)" snap.microk8s.daemon-kubelite.service /var/snap/microk8s
  for path in $claimed; do
    if is_filled "$path"; then
      problem "leftovers" "$path" "a folder that is empty or not there" "move its files away, and stop what uses them"
    fi
  done
  for path in /var/lib/plainkube /opt/plainkube $claimed; do
    mounted=$(awk -v d="$path/" 'index($2, d) == 1 { print $2 }' /proc/self/mounts)
    if [ -n "$mounted" ]; then
      problem "leftovers" "a mount at ${mounted//$'\n'/, }" "none below $path, which is emptied at the end" "mount $path itself, or unmount it"
    fi
  done
  if [ "$netfilter" != none ]; then
    chains=$(sed -n 's/^:\(KUBE-[^ ]*\).*/\1/p' <<<"$tables" | sort -u)
    if grep -qE '^table (ip|ip6|inet) kube-proxy ' <<<"$ruleset"; then chains="table kube-proxy"; fi
    [ -z "$chains" ] || problem "leftovers of kube-proxy" "$(head -n 1 <<<"$chains") and what belongs to it in netfilter" "no rules of another cluster" \
      "reset that cluster; its rules go with a reboot, or with 'kube-proxy --cleanup'"
    for device in flannel.1 vxlan.calico cilium_host kube-ipvs0 kube-bridge weave; do
      if [ -e "/sys/class/net/$device" ] && [ "$device" != "$vxlan_device" ]; then
        problem "leftovers" "interface $device" "none of another cluster" "reset that cluster, then remove it ('ip link delete $device')"
      fi
    done
    # With containers on it, it is some other user's of the CNI plugins.
    if [ -e /sys/class/net/cni0 ] && [ -z "$(ls /sys/class/net/cni0/brif 2>/dev/null)" ]; then
      problem "leftovers" "interface cni0, with nothing on it" "none of another cluster" "remove it ('ip link delete cni0')"
    fi
    # A wider route is none of our business: the longer prefix wins.
    while read -r route; do
      read -r -a words <<<"$route"
      case ${words[0]:-} in
        # The ways of a route stand below it, where it has several.
        default | broadcast | anycast | multicast | nexthop) continue ;;
        unicast | local | blackhole | unreachable | prohibit | throw) to=${words[1]} ;;
        *) to=${words[0]:-default} ;;
      esac
      if [ "$to" = default ]; then continue; fi
      case $to in */*) ;; *) to=$to/32 ;; esac
      for cidr in "podCidr $pod_cidr" "serviceCidr $service_cidr"; do
        if within "$to" "${cidr#* }"; then
          problem "network.${cidr% *} ${cidr#* }" "the host's own route '$route'" "addresses that nothing else uses" \
            "set network.${cidr% *} to another range, or remove the route"
        fi
      done
    done < <(ip -4 route show table all 2>/dev/null | grep -v '^broadcast ' || :)
  fi
  skew=$(($(date +%s) - ${now:-$(date +%s)}))
  # The way here may have taken a while, so that only being behind is certain.
  if [ "$skew" -lt -60 ] || [ "$skew" -gt 240 ]; then problem "clock" "$skew s off" "at most 60 s" "set the clock, best by NTP (timedatectl set-ntp true)"; fi

  # room MIB WHAT FOLDER: free space, and inodes where the file system counts them.
  room() {
    local at=$3 free inodes
    until [ -d "$at" ]; do at=$(dirname "$at"); done
    free=$(df -Pm "$at" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$1" ] || problem "disk of $2" "$free MiB free" "$1 MiB" "free space or grow the disk"
    inodes=$(df -Pi "$at" | awk 'NR == 2 && $2 > 0 { print $4 }')
    [ "${inodes:-5000}" -ge 5000 ] || problem "inodes of $2" "$inodes free" "5000" "remove files, or make the file system anew with more inodes"
  }
  if [ "$(stat -c %d /opt 2>/dev/null)" = "$(stat -c %d /var/lib)" ]; then
    room $((need_mib + need_lib_mib)) "/opt and /var/lib" /opt
  else
    room "$need_mib" /opt /opt
    room "$need_lib_mib" /var/lib /var/lib
  fi
fi

# A packet filter that drops what nobody let in. What its rules come to cannot be told in general; that no rule at all lets a port in, can.
# Prints a line for each: sure, with the ports that no rule lets in, or maybe; forward, where pods' packets may be dropped (with iptables
# our own rules let those pass); then its name.
filters() {
  awk -v open="$open_ports" -v netfilter="$netfilter" '
    # Notes which of the ports a rule that accepts may be for: all where that is not plain to see.
    function accepts(where, line,   i, n, words) {
      gsub(/comment "[^"]*"|counter packets [0-9]+ bytes [0-9]+/, "", line)
      if (line ~ /icmp|-i lo |iif(name)? "?lo"?|ct status dnat/) return
      if (tolower(line) ~ /established|related/ && tolower(line) !~ /new/) return
      if (line !~ /dport/ || line ~ /vmap/) { any[where] = 1; return }
      sub(/.*dports? /, "", line)
      if (line ~ /[0-9][-:][0-9]|@/) { any[where] = 1; return }
      n = split(line, words, /[^0-9]+/)
      for (i = 1; i <= n; i++) if (words[i] != "") let[where, words[i]] = 1
    }
    /^\*/ { mode = $1; next }
    mode == "*filter" && /^:INPUT (DROP|REJECT)/ { drops["iptables"] = 1 }
    mode == "*filter" && /^:FORWARD (DROP|REJECT)/ && netfilter != "iptables" { forward["iptables"] = 1 }
    mode == "*filter" && /^-A INPUT (-m comment --comment ("[^"]*"|[^ ]+) )?-j (DROP|REJECT)/ { drops["iptables"] = 1 }
    mode == "*filter" && /-j ACCEPT/ && !/^-A (FORWARD|OUTPUT|DOCKER|KUBE-|ufw-[a-z-]*(forward|output|limit-accept))/ { accepts("iptables", $0) }
    /^table / { mode = "nft"; table = "nftables table " $2 " " $3; if ($3 == "filter" && $2 == "ip") mode = "xt" }
    mode != "nft" { next }
    /^\tchain / { hook = "" }
    / hook / { hook = / hook input / ? "input" : "other"; if (hook == "input" && /policy drop/) drops[table] = 1 }
    hook == "input" && /^\t\t(counter packets [0-9]+ bytes [0-9]+ )?(drop|reject( with .*)?)$/ { drops[table] = 1 }
    hook != "other" && /accept/ && !/ hook / { accepts(table, $0) }
    / hook forward .*policy drop/ { forward[table] = 1 }
    END {
      n = split(open, wanted, " ")
      for (where in drops) {
        shut = ""
        for (i = 1; i <= n; i++) { split(wanted[i], p, "/"); if (!any[where] && !((where, p[1]) in let)) shut = shut " " wanted[i] }
        print (shut == "" ? "maybe" : "sure" shut) "|" where
      }
      if (netfilter != "none") for (where in forward) print "forward|" where
    }' <(printf '%s\n' "$tables") <(printf '%s\n' "$ruleset") | sort
}
while IFS='|' read -r shut filter; do
  if [ "$shut" = forward ]; then
    warning "firewall ($filter)" "drops what is forwarded and no rule lets through" "rules that let pass what comes from and goes to $pod_cidr" \
      "see that they do: packets of pods are forwarded by the host"
    continue
  fi
  read -r -a wanted <<<"$open_ports"
  if [ "${shut%% *}" = sure ]; then read -r -a wanted <<<"${shut#sure}"; fi
  remedy="let these in from the other hosts, from pods ($pod_cidr) and, for 6443, from where kubectl runs"
  if systemctl --quiet is-active firewalld 2>/dev/null; then
    remedy+=" (add the others' addresses as sources of a zone that opens them: firewall-cmd --permanent --zone=trusted --add-source=ADDRESS; firewall-cmd --reload)"
  elif [ -f /etc/ufw/ufw.conf ] && grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf; then
    remedy+=" ($(printf 'ufw allow from ADDRESS to any port %s; ' "${wanted[@]/\// proto }" | sed 's/; $//'))"
  fi
  if [ "${shut%% *}" = sure ]; then
    problem "firewall ($filter)" "$(join "${wanted[@]}") dropped: no rule lets them in" "rules that let other hosts reach them" "$remedy"
  else
    warning "firewall ($filter)" "drops what no rule lets in" "rules that let other hosts reach $(join "${wanted[@]}")" "see that they do; else $remedy"
  fi
done < <(filters)

if [ "$netfilter" = nftables ]; then
  kernel=$(uname -r)
  # kube-proxy's own limit: tools of that age do not break on its rules.
  if [ "$(printf '%s\n' 5.13 "$kernel" | sort -V | head -n 1)" != 5.13 ]; then
    problem "kernel" "$kernel" "5.13 or newer for kube-proxy's nftables mode" "use a newer kernel, or set network.kubeProxyMode to iptables"
  fi
  if has nft && ! nft list tables >/dev/null 2>&1; then
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
  # The kernel gives a port to several of them, which then see each other's packets.
  while read -r device port; do
    if [ "$device" = "$own_vxlan" ]; then continue; fi
    if [ "$device" = "$vxlan_device" ] || [ "$port" = "$vxlan_port" ]; then
      problem "VXLAN" "interface $device on UDP port $port" "none called $vxlan_device, and none on UDP port $vxlan_port" \
        "remove it with what makes it ('ip link delete $device'), or set network.flannel.vni and network.flannel.port to others"
    fi
  done < <(ip -o -d link show type vxlan 2>/dev/null | sed -n 's/^[0-9]*: \([^:@]*\).* vxlan .*dstport \([0-9]*\).*/\1 \2/p')
fi

if [ "$resolver" = true ]; then
  servers=$(awk '$1 == "nameserver" { print $2 }' /etc/resolv.conf 2>/dev/null || :)
  remedy="name servers that pods can reach, too, in /etc/resolv.conf, or in a file that overrides.kubelet.config.resolvConf names"
  if ! has systemctl || ! systemctl --quiet is-active systemd-resolved.service; then
    looped=$(grep -E '^(127\.|::1$)' <<<"$servers" | head -n 1 || :)
    if [ -z "$servers" ]; then
      problem "name servers" "none in /etc/resolv.conf" "one at least" "put $remedy"
    elif [ -n "$looped" ]; then
      problem "name servers" "$looped in /etc/resolv.conf" "none on the host itself, where a pod looks for its own" "put $remedy"
    fi
  fi
fi

volumes=${volumes:-}
if [ -n "$volumes" ] && ! grep -qs " $volumes\$" "$state/volumes" && [ -e "$volumes" ] && { [ ! -d "$volumes" ] || is_filled "$volumes"; }; then
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
    ! has ip || ip route get "$service_address" >/dev/null 2>&1 || problem "route to $service_address" "none" "a default route, or one to the service CIDR" \
      "add one: without it no connection to a Service leaves the host's own programs"
    ;;
esac

[ ${#warnings[@]} -eq 0 ] || printf '%s\n' "${warnings[@]}" >&2
if [ ${#problems[@]} -gt 0 ]; then
  if [ ${#problems[@]} -eq 1 ]; then count="1 problem"; else count="${#problems[@]} problems"; fi
  printf 'plainkube: host %s (%s) is not ready: %s; nothing was changed.\n' "$name" "$address" "$count" >&2
  printf '%s\n' "${problems[@]}" >&2
  echo "Correct them, then run 'pulumi up' again. 'npm run preflight' checks all hosts at once." >&2
  exit 1
fi
# Who this machine is, so that it is not taken for two: hashes, as the values shall not be shown around. In a container the second is the machine's beneath.
identity() { if [ -s "$1" ]; then sha256sum <"$1" | head -c 16; else printf -- -; fi; }
uuid=-
if ! systemd-detect-virt --quiet --container 2>/dev/null; then uuid=$(identity /sys/class/dmi/id/product_uuid); fi
printf 'ready %s %s\n' "$(identity /etc/machine-id)" "$uuid"
