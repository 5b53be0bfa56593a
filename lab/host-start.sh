#!/bin/bash
# The keeper of one test host: gives it cgroups, a root file system and a network of its own, and boots systemd in it,
# again after each reboot. It runs in a mount namespace of its own, so that every mount ends with it.
#
# host-start.sh UNIFIED BASE DISK NAME HOSTNAME ADDRESS GATEWAY LAN_NAMESPACE PORT BRIDGE CGROUP…
# BASE, DISK: the shared lower folder and the host's own; LAN_NAMESPACE, PORT, BRIDGE: where its cable is plugged in;
# CGROUP…: the host's cgroup in each hierarchy; UNIFIED: 1 with cgroup v2 only.
set -euo pipefail

unified=$1 base=$2 disk=$3 name=$4 hostname=$5 address=$6 gateway=$7 lan=$8 port=$9 bridge=${10}
shift 10
cgroups=("$@")

# Makes a cgroup and its missing parents. cpuset takes no process before it has cpus and mems.
make_cgroup() {
  local dir=$1 parent
  [ -d "$dir" ] && return
  parent=$(dirname "$dir")
  make_cgroup "$parent"
  if [ "$unified" = 1 ]; then
    for controller in $(<"$parent/cgroup.controllers"); do
      echo "+$controller" >"$parent/cgroup.subtree_control"
    done
  fi
  mkdir "$dir"
  for file in cpuset.cpus cpuset.mems; do
    if [ "$unified" = 0 ] && [ -e "$dir/$file" ]; then cat "$parent/$file" >"$dir/$file"; fi
  done
}

# v2 allows processes in leaves only: the keeper stands in one (keeper), the host in another (boot).
join_cgroups() {
  local leaf=$1 dir lock
  exec {lock}<"$disk/.." # the instance's hosts share a parent cgroup
  flock "$lock"
  for dir in "${cgroups[@]}"; do
    make_cgroup "$dir/$leaf"
    echo "$BASHPID" >"$dir/$leaf/cgroup.procs"
  done
  exec {lock}<&-
}

# Like a new kernel after a reboot: nothing is left of cgroups and network.
forget_last_boot() {
  local dir
  for dir in "${cgroups[@]}"; do
    if [ -d "$dir/boot" ]; then find "$dir/boot" -depth -type d -exec rmdir {} +; fi
  done
  if mountpoint --quiet "$disk/net"; then umount "$disk/net"; fi
  # The kernel removes the cable with the last network namespace, but in its own time.
  in_lan ip link delete "$port" 2>/dev/null || ! in_lan ip link show "$port" >/dev/null 2>&1
}

in_lan() { nsenter --net="$lan" "$@"; }
in_host() { nsenter --net="$disk/net" "$@"; }

plug_in() {
  local mac octets
  # The same at each boot, as of a real card: the others go on sending to the one that they know.
  IFS=. read -ra octets <<<"$address"
  mac=$(printf '02:00:%02x:%02x:%02x:%02x' "${octets[@]}")
  touch "$disk/net"
  unshare --net="$disk/net" true
  in_lan ip link add "$port" type veth peer name eth0 address "$mac" netns "$disk/net"
  in_lan ip link set "$port" master "$bridge" up
  in_host sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'
  in_host ip link set lo up
  in_host ip address add "$address/24" dev eth0
  in_host ip link set eth0 up
  in_host ip route add default via "$gateway"
}

boot() {
  join_cgroups boot
  local binds=(--bind=/dev/kmsg --bind="$disk/var-lib:/var/lib")
  if [ -d /lib/modules ]; then binds+=(--bind-ro=/lib/modules); fi
  export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=$unified SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 SYSTEMD_NSPAWN_TMPFS_TMP=0
  # Started inside the network namespace, since nspawn mounts the /sys that belongs to its own.
  exec nsenter --net="$disk/net" systemd-nspawn --quiet --boot --keep-unit --register=no --settings=no --directory="$disk/root" \
    --machine="$name" --hostname="$hostname" --network-namespace-path="$disk/net" \
    --capability=all --system-call-filter=@known --resolv-conf=off --timezone=off --link-journal=no "${binds[@]}"
}

join_cgroups keeper
mkdir -p "$disk/root"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$disk/upper,workdir=$disk/work" "$disk/root"
while :; do
  forget_last_boot
  plug_in
  code=0
  boot &
  wait "$!" || code=$?
  echo "host $hostname: systemd-nspawn ended with code $code"
  [ "$code" = 133 ] || exit "$code" # 133: the host asks for a reboot
done
