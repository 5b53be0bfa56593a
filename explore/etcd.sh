# shellcheck shell=bash
# Reads etcd on its host, as root, for the page on the workstation. Standard input brings etcdctl itself, then requests, a
# line each; each answer is a line, `ok` with etcdctl's JSON or `error` with its message. Nothing of it stays on the host.
# The lines before this script set: size, sha256 (of etcdctl), and parent, ca, cert, key (paths).
set -euo pipefail
umask 077
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

: "${size:?}" "${sha256:?}" "${parent:?}" "${ca:?}" "${cert:?}" "${key:?}"
fail() {
  printf 'error %s\n' "$*"
  exit 1
}
for file in "$ca" "$cert" "$key"; do
  [ -r "$file" ] || fail "$file is missing on $(hostname): no control plane of plainkube is there; run 'pulumi up'"
done

folder=$(mktemp -d "$parent/explore.XXXXXXXX") || fail "cannot write to $parent on $(hostname)"
trap 'rm -rf "$folder"' EXIT
echo send
head -c "$size" >"$folder/etcdctl" || fail "no room for etcdctl ($size bytes) in $parent on $(hostname)"
printf '%s  %s\n' "$sha256" "$folder/etcdctl" | sha256sum --check --status ||
  fail "etcdctl arrived changed on $(hostname): the connection was cut or the disk is bad; try again"
chmod 0500 "$folder/etcdctl"
# From here on only this descriptor holds it: it is gone with this process, however that ends.
exec 9<"$folder/etcdctl"
rm -rf "$folder"
trap - EXIT

export ETCDCTL_ENDPOINTS=https://127.0.0.1:2379 ETCDCTL_CACERT=$ca ETCDCTL_CERT=$cert ETCDCTL_KEY=$key ETCDCTL_API=3
etcdctl() {
  local answer
  if answer=$("/proc/$$/fd/9" --write-out=json "$@" 2>&1 </dev/null); then
    # Warnings may stand before it.
    printf 'ok %s\n' "${answer##*$'\n'}"
  else
    printf 'error %s\n' "${answer//$'\n'/ }"
  fi
}
decode() { base64 -d <<<"$1"; }

echo ready
while read -r request first second limit; do
  case $request in
    status) etcdctl endpoint status ;;
    keys) etcdctl get --keys-only --limit="$limit" -- "$(decode "$first")" "$(decode "$second")" ;;
    value) etcdctl get -- "$(decode "$first")" ;;
    *) fail "unknown request $request" ;;
  esac
done
