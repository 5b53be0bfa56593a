# shellcheck shell=bash
# Marks this host as this node, and notes what is here before us: reset sets back what is noted, and nothing else. The first change on
# the host; preflight.sh stands before it, and has found the host ready. Half-done runs are completed by the next.
: "${name:?}" "${address:?}" "${roles:?}" "${owner:?}" "${fixed:?}" "${rising:?}" "${netfilter:?}"
state=/var/lib/plainkube/state
mkdir -p "$state"
chmod 0755 /var/lib/plainkube
# The mark is there at once and whole, and of two programs that come at the same moment one gets it.
mark=$(mktemp "$state/owner.XXXXXX")
printf '%s\n' "$owner" >"$mark"
ln -T "$mark" "$state/owner" 2>/dev/null || :
rm -f "$mark"
if [ "$(cat "$state/owner")" != "$owner" ]; then
  printf 'plainkube: host %s (%s) has just become node %s; expected none, or node %s. Destroy that stack, or remove that node from its stack, first.\n' \
    "$name" "$address" "$(cat "$state/owner")" "$owner" >&2
  exit 1
fi

# note FILE COMMAND…: what the command prints now, unless that was noted before.
note() {
  [ ! -f "$state/$1" ] || return 0
  "${@:2}" >"$state/$1.new" 2>/dev/null || :
  mv -fT "$state/$1.new" "$state/$1"
}
note network-online.before systemctl is-active network-online.target
note nft-tables.before nft list tables
# What will be set machine-wide, by us or by a kubelet. A role that is added later adds its own.
keys=()
if [ "$netfilter" != none ]; then
  keys+=(net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.ipv4.conf.all.route_localnet net.netfilter.nf_conntrack_max
    net.netfilter.nf_conntrack_tcp_timeout_established net.netfilter.nf_conntrack_tcp_timeout_close_wait)
fi
case " $roles " in
  *" worker "*)
    keys+=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes)
    ;;
esac
noted=$(cat "$state/sysctl.before" 2>/dev/null || :)
for key in "${keys[@]}"; do
  case $'\n'$noted in *$'\n'"$key = "*) continue ;; esac
  if value=$(sysctl -n "$key" 2>/dev/null); then printf '%s = %s\n' "$key" "$value"; fi
done >>"$state/sysctl.before"
# The folder of volumes: its mode, and the first folder on the way to it that is not there.
if [ -n "$volumes" ] && ! grep -qs " $volumes\$" "$state/volumes"; then
  mode=$(stat -c %a "$volumes" 2>/dev/null || echo -)
  made=- way=$volumes
  until [ -d "$way" ]; do
    made=$way
    way=${way%/*}
    way=${way:-/}
  done
  printf '%s %s %s\n' "$mode" "$made" "$volumes" >>"$state/volumes"
fi
printf '%s\n' "$fixed" >"$state/fixed"
tr ' ' '\n' <<<"$rising" >"$state/rising"
echo claimed
