# shellcheck shell=bash
# Runs on a host: ends when pods of every host have answered at the Service's address, and one has reached the Service by its DNS name.
# The line before this script sets url and nodes (separated by spaces). A question that gets lost, as the first ones do before routes and
# rules are there, costs half a second.
set -euo pipefail
: "${url:?}" "${nodes:?}"
ask() { curl --silent --fail --max-time 0.5 "$@"; }
deadline=$((SECONDS + 180))
missing=" $nodes "
read -ra expected <<<"$nodes"
# As the program's probe: a pause only when nobody answers, or when as many answers in a row as there are hosts bring no news.
stale=0
while [ -n "${missing// /}" ]; do
  if answer=$(ask "$url") && [[ $answer =~ \"node\":\"([^\"]+)\" ]]; then
    node=${BASH_REMATCH[1]}
    if [[ $missing == *" $node "* ]]; then
      missing=${missing/" $node "/ } stale=0
    else
      stale=$((stale + 1))
    fi
  else
    stale=${#expected[@]}
  fi
  if [ "$stale" -ge "${#expected[@]}" ]; then
    [ $SECONDS -lt $deadline ] || exit 1
    stale=0
    sleep 0.1
  fi
done
until ask "$url/peer"; do
  [ $SECONDS -lt $deadline ] || exit 1
  sleep 0.1
done
