# shellcheck shell=bash
# Takes binaries from standard input into the store of this host, each under its SHA-256, and links their names to them.
# Runs as root. Says which it lacks (`need SHA`, then `send`); gets exactly those, in that order, one after the other.
# The lines before this script set: now (seconds since 1970), opt (the folder of all that is placed), store (the one in it
# for contents), entries (lines of: SHA-256, size, link).
set -euo pipefail
umask 022
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

: "${now:?}" "${opt:?}" "${store:?}" "${entries:?}"
fail() {
  printf 'plainkube: %s\n' "$*" >&2
  exit 1
}
[ -d /var/lib/plainkube/state ] || fail "$(hostname) is not prepared: /var/lib/plainkube/state is missing." \
  "The host was reset or replaced behind Pulumi's back; run 'npm run drift -- --repair' (for the control plane 'pulumi destroy', then 'pulumi up')."
skew=$(($(date +%s) - now))
# The way here may have taken a while, so that only being behind is certain.
if [ "$skew" -lt -60 ] || [ "$skew" -gt 240 ]; then
  fail "the clock of $(hostname) is $skew s off; expected at most 60 s: certificates would not be valid." \
    "Set the clock, best by NTP (timedatectl set-ntp true), then run 'pulumi up' again."
fi

mkdir -p "$store"
holds() { [ -f "$store/$1" ] && printf '%s  %s\n' "$1" "$store/$1" | sha256sum --check --status; }

missing=()
declare -A asked=() sizes=()
while read -r sha size _; do
  if [ -n "${asked[$sha]:-}" ]; then continue; fi
  asked[$sha]=1 sizes[$sha]=$size
  if ! holds "$sha"; then
    missing+=("$sha")
    echo "need $sha"
  fi
done <<<"$entries"
echo send

for sha in "${missing[@]}"; do
  part=$(mktemp "$store/.part-XXXXXX")
  trap 'rm -f "$part"' EXIT
  head -c "${sizes[$sha]}" >"$part" || fail "cannot write to $store on $(hostname)." \
    "Free $((sizes[$sha] / 1048576)) MiB there, then run 'pulumi up' again."
  got=$(stat -c %s "$part")
  [ "$got" = "${sizes[$sha]}" ] || fail "got $got of ${sizes[$sha]} bytes of $sha on $(hostname): the connection was cut. Run 'pulumi up' again."
  got=$(sha256sum <"$part")
  [ "${got%% *}" = "$sha" ] || fail "SHA-256 ${got%% *} arrived on $(hostname); expected $sha." \
    "The data was changed on its way or the disk is bad; run 'pulumi up' again."
  chmod 0755 "$part"
  mv -fT "$part" "$store/$sha"
  trap - EXIT
done

# A link changes at once; what ran from the old content goes on until its unit is restarted.
while read -r sha _ link; do
  mkdir -p "${link%/*}"
  old=$(readlink "$link" || :)
  if [ "$old" != "$store/$sha" ]; then
    ln -sfn "$store/$sha" "$link.new"
    mv -fT "$link.new" "$link"
    if [ -n "$old" ] && ! find "$opt" -type l -lname "$old" | grep -q .; then rm -f "$old"; fi
  fi
done <<<"$entries"
echo "received ${#missing[@]}"
