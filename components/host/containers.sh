# shellcheck shell=bash
# Ends all that containerd and the kubelet of plainkube run here, and takes away what it was run with: shims, network namespaces, links,
# mounts, host ports, cgroups. Part of reset.sh, and of the removal of a runtime from a host that stays; netfilter.sh stands before it.
# The lines before this script set: containerd_run, the folder of containerd's socket and tasks; containerd_root, that of its data.
: "${containerd_run:?}" "${containerd_root:?}"

# A folder may be a link to another disk: what it leads to counts.
real() { readlink -e -- "$1"; }

# The folder itself may be a mount of the host's own. Spaces are \040 there.
mounts_below() {
  awk -v d="$1/" 'index($2, d) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mount; do printf '%b\n' "$mount"; done
}

# unmount FOLDER: what is mounted below it. Fails where something stays. A server that is gone holds a plain unmount for ever.
unmount() {
  local folder mount
  folder=$(real "$1") || return 0
  [ "$folder" != / ] || return 0
  while read -r mount; do
    timeout 20 umount -- "$mount" 2>/dev/null || umount --lazy -- "$mount"
  done < <(mounts_below "$folder")
  [ -z "$(mounts_below "$folder")" ]
}

# empty FOLDER: unless something is still mounted below it, which may be somebody's data.
empty() {
  local folder
  folder=$(real "$1") || return 0
  [ "$folder" != / ] && unmount "$folder" && find "$folder" -mindepth 1 -xdev -delete
}

# Sockets of shims lie in a folder that all containerds of a host share; the tasks say which are ours, as long as they are there.
shim_sockets=()
find_sockets() {
  local found
  mapfile -t found < <(grep -rhoE '/run/containerd/s/[0-9a-f]{64}' "$containerd_run/io.containerd.runtime.v2.task" 2>/dev/null | sort -u)
  shim_sockets+=("${found[@]}")
}

# cgroups_of NAME: those of the host itself, in every hierarchy. Deeper ones are of a cluster inside a container.
cgroups_of() {
  compgen -G "/sys/fs/cgroup/$1"
  compgen -G "/sys/fs/cgroup/*/$1"
}

# Shims outlive containerd; ours are known by the socket that they were started with (their name is their content's).
end_containers() {
  local pid file
  find_sockets
  for pid in /proc/[0-9]*; do
    # Those of a container that runs a containerd itself are in its own process namespace.
    [ "$(readlink "$pid/ns/pid")" = "$(readlink /proc/self/ns/pid)" ] || continue
    if tr '\0' ' ' 2>/dev/null <"$pid/cmdline" | grep -qF -- " -address $containerd_run/containerd.sock "; then
      cat "$pid"/task/*/children | xargs --no-run-if-empty kill -KILL
      kill -KILL "${pid#/proc/}"
    fi
  done 2>/dev/null
  # What a container has started in the host's own process namespace does not end with it.
  while read -r file; do
    xargs --no-run-if-empty kill -KILL <"$file" 2>/dev/null
  done < <(cgroups_of 'kubepods*' | while read -r cgroup; do find "$cgroup" -name cgroup.procs 2>/dev/null; done)
  [ ${#shim_sockets[@]} -eq 0 ] || rm -f "${shim_sockets[@]}"
}

# Network namespaces as libcni has noted them, and those that a run that was cut off had made for a sandbox before that.
remove_pod_network() {
  local netns note id
  {
    sed -n 's|.*"netns":"\([^"]*\)".*|\1|p' /var/lib/cni/results/plainkube-* 2>/dev/null
    grep -aohE '/netns/cni-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' "$containerd_root/io.containerd.metadata.v1.bolt/meta.db" 2>/dev/null
  } | sed 's|.*/||' | sort -u | while read -r netns; do
    ip netns delete "$netns" 2>/dev/null
  done
  if ip link show plainkube0 >/dev/null 2>&1; then
    ip -o link show master plainkube0 | sed 's/^[0-9]*: \([^@:]*\).*/\1/' | while read -r port; do ip link delete "$port" 2>/dev/null; done
    ip link delete plainkube0 || return
  fi
  remove_iptables host-ports && remove_nftables host-ports || return
  # Last, as they tell which rules were ours.
  for note in /var/lib/cni/results/plainkube-*-eth0; do
    id=${note#*/plainkube-}
    rm -f "$note" "/var/lib/cni/results/cni-loopback-${id%-eth0}-lo"
  done
}

# Cgroups that a kubelet leaves, and those that systemd does not see empty where units were left processes to (cgroup v1).
remove_cgroups() {
  local unit name cgroup left
  for unit in $(systemctl list-units --all --plain --no-legend 'kubepods*.slice' 2>/dev/null | awk '{ print $1 }' | sort -r); do
    systemctl stop "$unit" 2>/dev/null
  done
  for _ in $(seq 50); do
    left=
    while read -r cgroup; do
      find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
      [ ! -d "$cgroup" ] || left=1
    done < <(for name in 'kubepods*' system.slice/plainkube-containerd.service system.slice/kubelet.service; do cgroups_of "$name"; done)
    [ -n "$left" ] || break
    sleep 0.1
  done
}

# For a host that is no worker any more: its units are stopped, and their files gone.
remove_runtime() {
  # A step that has nothing left to do is no failure.
  set +e
  end_containers
  remove_pod_network || fail "the pod network of $(hostname) was not removed. Correct what the lines above say, then run 'pulumi up' again."
  for dir in /var/lib/kubelet "$containerd_run"; do
    unmount "$dir" || fail "something is still mounted below $dir on $(hostname). Unmount it, then run 'pulumi up' again."
  done
  remove_cgroups
}
