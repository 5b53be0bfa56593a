#!/usr/bin/env bash
# One more worker for a cluster that up.sh has made: its keys, its binaries, and the wait until it is there for pods.
#
#   join.sh FOLDER NAME=ADDRESS…   the first is the control plane, the last is the new host; FOLDER as up.sh left it
set -euo pipefail
umask 077
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=bench/script/begin.sh
. "$here/begin.sh"
hosts=("${@%%=*}")
new=${!#}
host=${new%%=*}

{
  files "$host"
  make_node "$host" "${new#*=}"
  keys "$host"
  runtime_stream
} | on_host "$host" false

# Pods on every host, the new one included, answer from the new host. New pods are spread for themselves, without those they replace.
kubectl=("$work/kubectl" --kubeconfig "$run/admin.yaml" --cache-dir "$run/kubectl" --namespace plainkube-proof)
constraint='{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", "minDomains": '${#hosts[@]}',
  "nodeTaintsPolicy": "Honor", "labelSelector": {"matchLabels": {"app": "proof"}}, "matchLabelKeys": ["pod-template-hash"]}'
"${kubectl[@]}" patch deployment proof --type merge --patch '{"spec": {"template": {"spec": {"topologySpreadConstraints": ['"$constraint"']}}}}' >/dev/null
service=$("${kubectl[@]}" get service proof --output 'jsonpath={.spec.clusterIP}')
{ printf 'url=%q nodes=%q\n' "http://$service" "${hosts[*]}" && cat "$here/prove.sh"; } |
  ssh -F "$work/ssh_config" "$host" bash -s
