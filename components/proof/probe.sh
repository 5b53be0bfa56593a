# shellcheck shell=bash
# Asks the Service from this host until pods of every expected node have answered, and one of them has reached the
# Service by its DNS name. The lines before this script set: url, nodes (space-separated), seconds, by_name (false: there is
# no DNS to ask).
set -euo pipefail
: "${url:?}" "${nodes:?}" "${seconds:?}" "${by_name:?}"
declare -A answers=()
peer='' last='no answer'
if [ "$by_name" = false ]; then peer='not asked'; fi
read -ra expected <<<"$nodes"
deadline=$((SECONDS + seconds))
# Answers in a row without news. The Service chooses any pod each time: of many nodes most have answered before, and a pause
# after each answer would leave no time to meet the last.
stale=0
missing() {
  local node
  for node in $nodes; do
    if [ -z "${answers[$node]:-}" ]; then echo "$node"; fi
  done
}
while [ -n "$(missing)" ] || [ -z "$peer" ]; do
  if [ $SECONDS -ge $deadline ]; then
    echo "plainkube: the Service at $url did not answer in full from $(hostname) within $seconds s." >&2
    echo "  no answer from a pod on: $(missing | tr '\n' ' ')" >&2
    echo "  by DNS name from a pod: ${peer:-no answer}" >&2
    echo "  last answer: $last" >&2
    echo "Look at 'kubectl get pods -A -o wide', 'kubectl describe', and 'journalctl -u kubelet -u kube-proxy' on the hosts; then run 'pulumi up' again." >&2
    exit 1
  fi
  if answer=$(curl -sS --connect-timeout 0.5 --max-time 2 "$url" 2>&1) && [[ $answer =~ \"node\":\"([^\"]+)\" ]]; then
    if [ -n "${answers[${BASH_REMATCH[1]}]:-}" ]; then stale=$((stale + 1)); else stale=0; fi
    answers[${BASH_REMATCH[1]}]=$answer
  else
    stale=${#expected[@]}
  fi
  last=$answer
  if [ -z "$peer" ] && answer=$(curl -sfS --connect-timeout 0.5 --max-time 2 "$url/peer" 2>&1); then peer=$answer; fi
  if [ "$stale" -ge "${#expected[@]}" ]; then
    stale=0
    sleep 0.1
  fi
done
for node in $nodes; do echo "${answers[$node]}"; done
if [ "$by_name" = true ]; then echo "$peer"; fi
