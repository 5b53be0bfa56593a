# shellcheck shell=bash
# Runs on a host: ends when pods of every host have answered at the Service's address, and one has reached the Service by its DNS name.
# The line before this script sets url and nodes (separated by spaces). A question that gets lost, as the first ones do before routes and
# rules are there, costs half a second.
set -euo pipefail
: "${url:?}" "${nodes:?}"
ask() { curl --silent --fail --max-time 0.5 "$@"; }
deadline=$((SECONDS + 180))
for node in $nodes; do
  until ask "$url" | grep "\"node\":\"$node\""; do
    [ $SECONDS -lt $deadline ] || exit 1
    sleep 0.1
  done
done
until ask "$url/peer"; do
  [ $SECONDS -lt $deadline ] || exit 1
  sleep 0.1
done
