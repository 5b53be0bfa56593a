#!/usr/bin/env bash
# A cluster of plain hosts with nothing in between: openssl, tar over ssh, systemctl, kubectl and curl. It makes what `pulumi up` makes of
# the stack `dev`: same binaries, unit files and settings. It neither checks what it sends nor knows how to change or remove a cluster.
#
#   up.sh FOLDER NAME=ADDRESS…   the first host gets the control plane, each is a worker
#
# FOLDER holds ssh_config (how each NAME is reached), files/NAME (unit and config files of the host as a tree), binaries (a tree of links),
# kubectl. Keys are made in FOLDER/run. It ends when, asked from each host, pods of every host have answered at the Service's
# address, and one has reached the Service by its DNS name.
set -euo pipefail
umask 077
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=bench/script/begin.sh
. "$here/begin.sh"
hosts=("${@%%=*}")
first=${hosts[0]}
rm -rf "$run"
mkdir -p "$run"

# Keys are made while the first binaries travel.
make_keys() {
  make_authorities
  make_control_plane "$first"
  certificate kubernetes "$ca/proxy" /CN=system:kube-proxy clientAuth
  local host
  for host in "$@"; do make_node "${host%%=*}" "${host#*=}"; done
  kubeconfig "$run/admin.yaml" /O=system:masters/CN=kubernetes-admin
  mark keys
}

control_plane_stream() {
  files "$1"
  binaries bin/etcd bin/kube-apiserver
  mark api-sent
  until_marked keys
  keys "$1"
  binaries bin/kube-controller-manager bin/kube-scheduler
  runtime_stream
}
# All hosts share the workstation's line: what the others wait for goes first.
worker_stream() {
  files "$1"
  until_marked api-sent
  until_marked keys
  keys "$1"
  runtime_stream
}

# Nothing goes on when one part has failed.
trap 'kill $(jobs -p) 2>/dev/null || :' EXIT
make_keys "$@" &
jobs=("$!")
control_plane_stream "$first" | on_host "$first" true &
jobs+=("$!")
for host in "${hosts[@]:1}"; do
  worker_stream "$host" | on_host "$host" false &
  jobs+=("$!")
done

# What lives inside the cluster, as soon as the API answers.
until_marked keys
until_api_answers
kubectl=("$work/kubectl" --kubeconfig "$run/admin.yaml" --cache-dir "$run/kubectl")
"${kubectl[@]}" create --validate=false --filename "$here/cluster.yaml" --filename "$here/proof.yaml" >/dev/null
service=$("${kubectl[@]}" get service proof --namespace plainkube-proof --output 'jsonpath={.spec.clusterIP}')

# The proof, from each host.
for host in "${hosts[@]}"; do
  { printf 'url=%q nodes=%q\n' "http://$service" "${hosts[*]}" && cat "$here/prove.sh"; } |
    ssh -F "$work/ssh_config" "$host" bash -s &
  jobs+=("$!")
done
for job in "${jobs[@]}"; do wait "$job"; done
