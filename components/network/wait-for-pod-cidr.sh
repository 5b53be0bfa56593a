#!/usr/bin/env bash
# Waits until kube-controller-manager has given this node its share of the pods' addresses: flanneld does not, and fails.
set -euo pipefail
: "${KUBECONFIG:?}" "${NODE_NAME:?}"
deadline=$((SECONDS + 60))
until [ -n "$(/opt/plainkube/bin/kubectl get node "$NODE_NAME" --ignore-not-found --output 'jsonpath={.spec.podCIDR}')" ]; do
  if [ $SECONDS -ge $deadline ]; then
    echo "node $NODE_NAME has no spec.podCIDR after 60 s; look at 'journalctl -u kubelet' here and 'journalctl -u kube-controller-manager' on the control plane" >&2
    exit 1
  fi
  sleep 0.2
done
