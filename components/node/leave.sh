# shellcheck shell=bash
# Takes a node out of the cluster when its host is taken out of the configuration: drained where it still answers, then
# deleted, so that routes and endpoints that lead to it go. Runs as root on the control plane's host.
# The lines before this script set: node, kubectl (its path), kubeconfig (the administrator's, as base64).
set -euo pipefail
umask 077
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

: "${node:?}" "${kubectl:?}" "${kubeconfig:?}"
mkdir -p /run/plainkube
folder=$(mktemp -d /run/plainkube/leave-XXXXXX)
trap 'rm -rf "$folder"' EXIT
base64 -d <<<"$kubeconfig" >"$folder/kubeconfig"
ask() { "$kubectl" --kubeconfig "$folder/kubeconfig" --cache-dir "$folder/cache" "$@"; }
fail() {
  printf 'plainkube: %s\n' "$*" >&2
  exit 1
}

found=$(ask get node "$node" --ignore-not-found --request-timeout=30s \
  --output 'jsonpath={.metadata.name} {.status.conditions[?(@.type=="Ready")].status}') ||
  fail "the API on $(hostname) does not say whether node $node is there. Get the control plane to work, then run 'pulumi up' again."
case $found in
  "")
    echo "no node $node"
    exit
    ;;
  *" True")
    # Its pods end with it in any case, so that one which may not be evicted is no reason to keep the host.
    ask drain "$node" --ignore-daemonsets --delete-emptydir-data --force --timeout=60s >&2 ||
      echo "node $node was not drained whole in 60 s: what still ran on it ends now" >&2
    ;;
  *) echo "node $node is not ready, and is not drained" >&2 ;;
esac
ask delete node "$node" --timeout=60s
