#!/usr/bin/env bash
# Removes the pod network's file where its template or the node's pod CIDR is another by now: containerd writes it once only,
# when the kubelet says the CIDR. Without need it stays, as the node is not ready for ten seconds where it is missing.
# Arguments: name of the node, kubeconfig.
set -euo pipefail
file=/etc/plainkube/cni/net.d/10-containerd-net.conflist
if [ ! -e "$file" ]; then exit 0; fi
keep=
if [ "$file" -nt /etc/plainkube/cni/bridge.conflist.template ]; then
  if node=$(/opt/plainkube/bin/kubectl --kubeconfig "$2" --request-timeout 3s get --raw "/api/v1/nodes/$1" 2>&1); then
    cidr=$(sed -nE 's/.*"podCIDR": *"([^"]+)".*/\1/p' <<<"$node" | head -n 1)
    if [ -n "$cidr" ] && grep -qF "\"$cidr\"" "$file"; then keep=1; fi
  else
    # Without an answer nothing speaks against it.
    case $node in *NotFound* | *"not found"*) ;; *) keep=1 ;; esac
  fi
fi
if [ -z "$keep" ]; then rm -f "$file"; fi
