#!/usr/bin/env bash
# Keeps a route to each node's pods, as the API lists the nodes: a host that joins or leaves touches no other host's files.
# Routes carry protocol 112, so that they are found again.
set -euo pipefail
: "${KUBECONFIG:?}" "${NODE_NAME:?}"
rm -f /run/plainkube/routes.ready
kubectl=/opt/plainkube/bin/kubectl
declare -A routes=()

# node NAME CIDR ADDRESS: a node as it is now; without the last two it has no pods.
node() {
  local name=$1 route=${3:+$2 via $3}
  if [ "$name" = "$NODE_NAME" ] || [ "${routes[$name]:-}" = "$route" ]; then return; fi
  # With its gateway: what another node has got since stays.
  if [ -n "${routes[$name]:-}" ]; then route delete "${routes[$name]}" 2>/dev/null || :; fi
  unset "routes[$name]"
  if [ -n "$route" ]; then
    route replace "$route"
    routes[$name]=$route
  fi
}
# route VERB "CIDR via ADDRESS"
route() {
  local cidr via
  read -r cidr _ via <<<"$2"
  ip route "$1" "$cidr" via "$via" proto 112
}

# Begun first, so that nothing is missed between the list and it. Heartbeats pass by: they change nothing of this.
exec 3< <(exec "$kubectl" get nodes --watch --output-watch-events --output \
  'jsonpath={.type} {.object.metadata.name} {.object.spec.podCIDR} {.object.status.addresses[?(@.type=="InternalIP")].address}{"\n"}')
watch=$!
# This process ends last, whatever ends it, so that systemd sees the unit empty, with cgroup v1 too.
trap 'kill -KILL "$watch" 2>/dev/null || :; wait "$watch" || :' EXIT
trap 'exit 0' TERM

# The list says what is no more; from then on each change of a node is one of the watch's lines, and asks the API nothing.
nodes=$("$kubectl" get nodes --output \
  'jsonpath={range .items[?(@.spec.podCIDR)]}{.metadata.name} {.spec.podCIDR} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}')
while read -r name cidr via _; do
  if [ -n "$via" ]; then node "$name" "$cidr" "$via"; fi
done <<<"$nodes"
while read -r cidr via; do
  case " ${routes[*]} " in *" $cidr via $via "*) continue ;; esac
  ip route delete "$cidr" via "$via" proto 112
done < <(ip -o route show proto 112 | awk '{ print $1, $3 }')
touch /run/plainkube/routes.ready

while read -r event name cidr via _ <&3; do
  case $event in
    # A node that has no pod CIDR yet says its address in the place of it.
    ADDED | MODIFIED) if [ -n "$via" ]; then node "$name" "$cidr" "$via"; else node "$name"; fi ;;
    DELETED) node "$name" ;;
  esac
done
echo "the watch of nodes ended; systemd starts it again" >&2
exit 1
