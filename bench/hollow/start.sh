#!/usr/bin/env bash
# Becomes hollow node NUMBER: a kubelet of Kubernetes' own simulation, without containers. Usage: start NUMBER
set -euo pipefail
number=$1
export TMPDIR="/var/lib/hollow/$number"
mkdir -p "$TMPDIR"
# As a kubelet's own defaults for requests, which kubemark lowers.
exec /opt/hollow/kubemark \
  --morph=kubelet \
  --name="hollow-$number" \
  --kubeconfig="/opt/hollow/kubeconfigs/$number" \
  --kubelet-port="$((11000 + number))" \
  --kubelet-read-only-port=0 \
  --kube-api-qps=50 \
  --kube-api-burst=100 \
  --max-pods=110 \
  --node-labels=hollow=true \
  --register-with-taints=hollow=true:NoSchedule \
  --use-host-image-service=false
