#!/usr/bin/env bash
# The clock's part of kubeadm: init on the first host, the pod network, join of the others, and the same proof as of script/up.sh.
#
#   up.sh FOLDER NAME=ADDRESS…   FOLDER as of script/up.sh; hosts that prepare.sh has readied
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$1
shift
hosts=("${@%%=*}")
# Nothing goes on when one part has failed.
trap 'kill $(jobs -p) 2>/dev/null || :' EXIT
first=${hosts[0]} api=${1#*=}
on() { ssh -F "$work/ssh_config" "$@"; }
# cgroup v1, and kernel configs that a container does not see, are what the lab's hosts are like.
tolerated=--ignore-preflight-errors=SystemVerification,Swap,KubeletVersion

on "$first" kubeadm init --config /root/init.yaml "$tolerated" >"$work/kubeadm-init.log"
on "$first" cat /etc/kubernetes/admin.conf >"$work/kubeadm-admin.conf"
kubectl=("$work/kubectl" --kubeconfig "$work/kubeadm-admin.conf" --cache-dir "$work/kubectl-cache")
# Its own, as it prints it in the line that joins a node.
token=$(grep -om1 -- '--token [^ ]*' "$work/kubeadm-init.log")
ca=$(on "$first" "openssl x509 -in /etc/kubernetes/pki/ca.crt -pubkey -noout | openssl pkey -pubin -outform DER | sha256sum")

jobs=()
for host in "${hosts[@]:1}"; do
  on "$host" kubeadm join "$api:6443" --token "${token#* }" --discovery-token-ca-cert-hash "sha256:${ca%% *}" \
    --cri-socket unix:///run/plainkube/containerd/containerd.sock --node-name "$host" "$tolerated" >"$work/kubeadm-join-$host.log" &
  jobs+=("$!")
done
"${kubectl[@]}" create --validate=false --filename "$here/../script/proof.yaml" >/dev/null
service=$("${kubectl[@]}" get service proof --namespace plainkube-proof --output 'jsonpath={.spec.clusterIP}')

# The pod network: a route to each other node's pods, as soon as they are known.
route_to() {
  local cidr other
  "${kubectl[@]}" wait --for=create "node/$1" --timeout=90s >/dev/null
  "${kubectl[@]}" wait --for='jsonpath={.spec.podCIDR}' "node/$1" --timeout=90s >/dev/null
  cidr=$("${kubectl[@]}" get node "$1" --output 'jsonpath={.spec.podCIDR}')
  for other in "${hosts[@]}"; do
    if [ "$other" != "$1" ]; then on "$other" ip route replace "$cidr" via "$2"; fi
  done
}
for host in "$@"; do
  route_to "${host%%=*}" "${host#*=}" &
  jobs+=("$!")
done

for host in "${hosts[@]}"; do
  { printf 'url=%q nodes=%q\n' "http://$service" "${hosts[*]}" && cat "$here/../script/prove.sh"; } |
    on "$host" bash -s &
  jobs+=("$!")
done
for job in "${jobs[@]}"; do wait "$job"; done
