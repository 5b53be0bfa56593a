# shellcheck shell=bash
# Takes binaries into the store of this host, each under its SHA-256, and links their names to them. Runs as root.
# Says which it lacks (`need SHA`, then `send`); gets exactly those, in that order, as a tar archive by standard input.
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
  "The host was reset or replaced behind Pulumi's back; run 'npm run drift -- --stack STACK --repair' (for the control plane 'pulumi destroy', then 'pulumi up')."
skew=$(($(date +%s) - now))
# The way here may have taken a while, so that only being behind is certain.
if [ "$skew" -lt -60 ] || [ "$skew" -gt 240 ]; then
  fail "the clock of $(hostname) is $skew s off; expected at most 60 s: certificates would not be valid." \
    "Set the clock, best by NTP (timedatectl set-ntp true), then run 'pulumi up' again."
fi

mkdir -p "$store" || fail "cannot make $store on $(hostname). Free space there, then run 'pulumi up' again."
free_mib() { df --block-size=M --output=avail "$store" | sed -n '2s/[^0-9]//gp'; }
# What a run that was cut off left half; one that still receives holds a lock on its file.
for part in "$store"/.part-*; do
  if [ -e "$part" ]; then flock -n "$part" rm -rf "$part" || :; fi
done
# OpenSSL uses the processor's own instructions where coreutils may not, five times as fast.
sha256() {
  local sum
  sum=$(openssl dgst -sha256 -r <"$1" 2>/dev/null) || sum=$(sha256sum <"$1")
  echo "${sum%% *}"
}
holds() { [ -f "$store/$1" ] && [ "$(sha256 "$store/$1")" = "$1" ]; }

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

if [ ${#missing[@]} -gt 0 ]; then
  total=0
  for sha in "${missing[@]}"; do total=$((total + sizes[$sha])); done
  # This side may never be told that the connection is lost, so there is a limit: that of a line of 100 kB/s.
  limit=$((60 + total / 100000))
  inbox=$(mktemp -d "$store/.part-XXXXXX") || fail "cannot write to $store on $(hostname). Free space there, then run 'pulumi up' again."
  said=$(mktemp -p /run plainkube-XXXXXX)
  trap 'rm -rf "$inbox" "$said"' EXIT
  exec 8<"$inbox"
  flock 8
  # keep SHA: into the store, if it is here whole.
  keep() {
    local file=$inbox/$1 got
    if [ "$(stat -c %s "$file" 2>/dev/null || :)" != "${sizes[$1]:-none}" ]; then return; fi
    got=$(sha256 "$file")
    if [ "$got" != "$1" ]; then
      echo "damaged $1"
      fail "SHA-256 $got arrived on $(hostname); expected $1. It was not kept."
    fi
    chmod 0755 "$file"
    mv -fT "$file" "$store/$1"
    total=$((total - sizes[$1]))
  }
  # tar says a name when it begins with a file: the one before is whole then, and is kept whatever comes.
  previous=
  while read -r sha; do
    if [ -n "$previous" ]; then keep "$previous"; fi
    previous=$sha
  done < <(timeout "$limit" tar --extract --verbose --no-same-owner --directory "$inbox" 2>"$said")
  code=0
  wait "$!" || code=$?
  if [ -n "$previous" ]; then keep "$previous"; fi
  for sha in "${missing[@]}"; do
    if [ -e "$store/$sha" ]; then continue; fi
    [ "$code" != 124 ] || fail "$total bytes did not arrive on $(hostname) in $limit s. Use a faster line, then run 'pulumi up' again: what has arrived is kept."
    if grep -qE 'Wrote only|Cannot (write|open)|No space left|quota exceeded|Read-only file system|Input/output error' "$said"; then
      fail "cannot write to $store on $(hostname): $(free_mib) MiB are free there." \
        "Free $((total / 1048576 + 1)) MiB for what is missing, then run 'pulumi up' again: what has arrived is kept."
    fi
    got=$(stat -c %s "$inbox/$sha" 2>/dev/null || echo 0)
    fail "got $got of ${sizes[$sha]} bytes of $sha on $(hostname): the connection was cut. Run 'pulumi up' again: what has arrived is kept."
  done
  rm -rf "$inbox" "$said"
  trap - EXIT
  exec 8<&-
fi

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
state=/var/lib/plainkube/state
# As verified just now: what still looks so need not be hashed again before it is run.
for sha in "${!asked[@]}"; do stat -c '%n %i %s %.9Y %.9Z' "$store/$sha"; done |
  sort -u - <(cat "$state/verified" 2>/dev/null || :) >"$state/verified.new" ||
  fail "cannot write to $state on $(hostname). Free space there, then run 'pulumi up' again."
mv -fT "$state/verified.new" "$state/verified"
echo "received ${#missing[@]}"
