#!/usr/bin/env bash
# Keeps a route to each node's pods, as the API lists the nodes: a host that joins or leaves touches no other host's files.
# Routes carry protocol 112, so that they are found again.
set -euo pipefail
: "${KUBECONFIG:?}" "${NODE_NAME:?}"
rm -f /run/plainkube/routes.ready

sync() {
  local node cidr via nodes wanted=''
  nodes=$(/opt/plainkube/bin/kubectl get nodes --output \
    'jsonpath={range .items[?(@.spec.podCIDR)]}{.metadata.name} {.spec.podCIDR} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}')
  while read -r node cidr via; do
    if [ -n "$via" ] && [ "$node" != "$NODE_NAME" ]; then
      ip route replace "$cidr" via "$via" proto 112
      wanted+="$cidr $via"$'\n'
    fi
  done <<<"$nodes"
  while read -r cidr via; do
    if ! grep -qxF "$cidr $via" <<<"$wanted"; then ip route delete "$cidr" via "$via" proto 112; fi
  done < <(ip -o route show proto 112 | awk '{ print $1, $3 }')
  touch /run/plainkube/routes.ready
}

# A sync for each change of a node's address or pod CIDR; other updates (heartbeats) pass by. What is there comes first.
exec 3< <(exec /opt/plainkube/bin/kubectl get nodes --watch --output-watch-events --output \
  'jsonpath={.type} {.object.metadata.name} {.object.spec.podCIDR} {.object.status.addresses[0].address}{"\n"}')
watch=$!
# This process ends last, whatever ends it, so that systemd sees the unit empty, with cgroup v1 too.
trap 'kill -KILL "$watch" 2>/dev/null || :; wait "$watch" || :' EXIT
trap 'exit 0' TERM
declare -A seen=()
while read -r event node state <&3; do
  if [ "$event" = DELETED ] || [ "${seen[$node]:-}" != "$state" ]; then
    seen[$node]=$state
    sync
  fi
done
echo "the watch of nodes ended; systemd starts it again" >&2
exit 1
