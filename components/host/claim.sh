# shellcheck shell=bash
# Marks this host as this node, and notes what is here before us: reset sets back what is noted, and nothing else. The first change on
# the host; given-back.sh, whose functions it calls, stands before it, and preflight.sh, which has found the host ready. Half-done runs
# are completed by the next.
: "${name:?}" "${address:?}" "${roles:?}" "${owner:?}" "${fixed:?}" "${rising:?}" "${netfilter:?}" "${claimed:?}"
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

# A role that is added later adds its own settings; what the host has been once is reset at its end.
read -ra has <<<"$roles"
{
  # A host that an earlier program has made may have lost a role by now.
  if [ -f "$state/sysctl.before" ] && [ ! -f "$state/roles" ]; then printf 'worker\nnetwork\n'; fi
  cat "$state/roles" 2>/dev/null || :
  printf '%s\n' "${has[@]}"
  if [ "$netfilter" != none ]; then echo network; fi
} | sort -u >"$state/roles.new"
mv -fT "$state/roles.new" "$state/roles"
read -ra folders <<<"$claimed"
if [ ! -f "$state/sysctl.before" ]; then note_before "${folders[@]}"; fi
note_kernel "$netfilter" "$roles"
if [ -s "$state/volumes" ]; then give_back_unused_volumes "${volumes:--}"; fi
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
