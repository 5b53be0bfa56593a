# shellcheck shell=bash
# Takes binaries into the store of this host, each under its SHA-256, and links their names to them. Runs as root.
# Says which it lacks (`need SHA`, then `send`); gets by standard input the program that takes them (toolchain/receive), in gzip, then
# exactly those, in that order.
# The lines before this script set: now (seconds since 1970), opt (the folder of all that is placed), store (the one in it
# for contents), receiver_size (bytes of that program in gzip), receiver_sha (its SHA-256), entries (lines of: SHA-256, size, link).
set -euo pipefail
umask 022
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

: "${now:?}" "${opt:?}" "${store:?}" "${receiver_size:?}" "${receiver_sha:?}" "${entries:?}"
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
no_space() {
  fail "cannot write to $store on $(hostname): $(free_mib) MiB are free there." \
    "Free $((${total:-0} / 1048576 + 1)) MiB for what is missing, then run 'pulumi up' again: what has arrived is kept."
}
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
  total=0 wanted=()
  for sha in "${missing[@]}"; do
    total=$((total + sizes[$sha]))
    wanted+=("$sha" "${sizes[$sha]}")
  done
  # This side may never be told that the connection is lost, so there is a limit: that of a line of 30 kB/s, as contents travel at
  # less than a third of their size.
  limit=$((60 + total / 100000))
  inbox=$(mktemp -d "$store/.part-XXXXXX") || no_space
  trap 'rm -rf "$inbox"' EXIT
  exec 8<"$inbox"
  flock 8
  # It goes with the folder. dd takes not a byte more than it is told.
  timeout "$limit" dd ibs=64K iflag=fullblock,count_bytes count="$receiver_size" status=none | gzip -dc >"$inbox/receive" || :
  if [ "$(sha256 "$inbox/receive")" != "$receiver_sha" ]; then
    if [ "$(free_mib)" -lt 8 ]; then no_space; fi
    echo "damaged $receiver_sha"
    fail "what takes binaries did not arrive whole on $(hostname): the connection was cut, or gzip does not work there. Run 'pulumi up' again."
  fi
  chmod 0700 "$inbox/receive"
  code=0
  timeout "$limit" "$inbox/receive" "$inbox" "$store" "${wanted[@]}" || code=$?
  case $code in
    0) ;;
    124)
      for sha in "${missing[@]}"; do if [ -e "$store/$sha" ]; then total=$((total - sizes[$sha])); fi; done
      fail "$total bytes did not arrive on $(hostname) in $limit s. Use a faster line, then run 'pulumi up' again: what has arrived is kept."
      ;;
    126) fail "no program can be run in $store on $(hostname). Mount that file system without noexec, then run 'pulumi up' again." ;;
    1) exit 1 ;;
    *) fail "what takes binaries ended with $code on $(hostname). Look there what ended it ('journalctl -k' names memory that ran out), then run 'pulumi up' again: what has arrived is kept." ;;
  esac
  rm -rf "$inbox"
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
