#!/usr/bin/env bash
# Keeps a route to each node's pods, as the API lists the nodes: a host that joins or leaves touches no other host's files.
# Routes carry protocol 112, so that they are found again. All nodes are listed once; after that the API tells what changes,
# so that a node that joins costs each host one event, not a list.
set -euo pipefail
: "${KUBECONFIG:?}" "${NODE_NAME:?}"
rm -f /run/plainkube/routes.ready

# Node → its pod CIDR and its address, of other nodes that have both.
declare -A routes=()

# Takes over what an event says; true if a route changes by it. Other updates (heartbeats) pass by.
note() {
  local event=$1 node=$2 cidr=$3 via=${4%% *} before=${routes[$2]:-}
  if [ "$event" = DELETED ] || [ "$node" = "$NODE_NAME" ] || [ -z "$cidr" ] || [ -z "$via" ]; then
    unset "routes[$node]"
  else
    # A share that comes to another node has left the one before, whether that was heard or not.
    if [ "$before" != "$cidr $via" ]; then
      for other in "${!routes[@]}"; do
        case ${routes[$other]} in "$cidr "*) unset "routes[$other]" ;; esac
      done
    fi
    routes[$node]="$cidr $via"
  fi
  [ "${routes[$node]:-}" != "$before" ]
}

# One `ip` for all that differs. One route that cannot be made does not keep back the others; the unit then starts again.
sync() {
  local cidr via wanted='' there
  for route in "${routes[@]}"; do wanted+="$route"$'\n'; done
  there=$(ip -o route show proto 112 | cut -d' ' -f1,3)
  {
    comm -23 <(sort <<<"$wanted") <(sort <<<"$there") | while read -r cidr via; do
      if [ -n "$via" ]; then echo "route replace $cidr via $via proto 112"; fi
    done
    # A share that another node has now was replaced above.
    comm -13 <(cut -d' ' -f1 <<<"$wanted" | sort) <(cut -d' ' -f1 <<<"$there" | sort) | while read -r cidr; do
      if [ -n "$cidr" ]; then echo "route delete $cidr proto 112"; fi
    done
  } | ip -force -batch -
  touch /run/plainkube/routes.ready
}

# The watch has begun when its first line is here, and nothing is missed between it and the list. What is there comes again in it, and
# changes nothing. A cluster without nodes has no first line. In chunks,
# which is how kubectl lists more than 500, it would come as lists in a list, without names.
exec 3< <(exec /opt/plainkube/bin/kubectl get nodes --watch --output-watch-events --chunk-size=0 --output \
  'jsonpath={.type}|{.object.metadata.name}|{.object.spec.podCIDR}|{.object.status.addresses[?(@.type=="InternalIP")].address}{"\n"}')
watch=$!
# This process ends last, whatever ends it, so that systemd sees the unit empty, with cgroup v1 too.
trap 'kill -KILL "$watch" 2>/dev/null || :; wait "$watch" || :' EXIT
trap 'exit 0' TERM
first=''
IFS= read -r -t 2 -u 3 first || :
nodes=$(/opt/plainkube/bin/kubectl get nodes --output \
  'jsonpath={range .items[*]}{.metadata.name}|{.spec.podCIDR}|{.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}')
while IFS='|' read -r node cidr via; do
  if [ -n "$node" ]; then note ADDED "$node" "$cidr" "$via" || :; fi
done <<<"$nodes"
IFS='|' read -r event node cidr via <<<"$first"
if [ -n "$node" ]; then note "$event" "$node" "$cidr" "$via" || :; fi
sync

while IFS='|' read -r event node cidr via <&3; do
  changed=
  if note "$event" "$node" "$cidr" "$via"; then changed=yes; fi
  # What came meanwhile counts in the same go.
  while read -r -t 0 -u 3 && IFS='|' read -r event node cidr via <&3; do
    if note "$event" "$node" "$cidr" "$via"; then changed=yes; fi
  done
  if [ -n "$changed" ]; then sync; fi
done
echo "the watch of nodes ended; systemd starts it again" >&2
exit 1
