# shellcheck shell=bash
# Runs on a host, its binaries and files on standard input: one archive after another, each in use as soon as it is there.
# The line before this script sets api (address of the API server), control_plane (true on its host) and name (of the host).
set -euo pipefail
umask 077
: "${api:?}" "${control_plane:?}" "${name:?}"

# The folders that are there keep their modes.
unpack() { tar --extract --preserve-permissions --no-overwrite-dir --directory=/; }
until_answers() { until curl --silent --fail --output /dev/null "$@"; do sleep 0.1; done; }
api_answers() { until_answers --cacert "$1" "https://$api:6443/readyz"; }

unpack # unit and config files
node=(plainkube-containerd plainkube-images kubelet kube-proxy plainkube-routes)

if [ "$control_plane" = true ]; then
  systemctl enable --quiet etcd kube-apiserver kube-controller-manager kube-scheduler "${node[@]}"
  unpack # etcd, API server
  unpack # keys
  systemctl start --no-block etcd kube-apiserver
  unpack # controllers
  # Earlier, they would wait for a second when the API server is not ready at their first look.
  { api_answers /etc/plainkube/pki/ca.crt && systemctl start --no-block kube-controller-manager kube-scheduler; } &
else
  systemctl enable --quiet "${node[@]}"
  unpack # keys
fi

unpack # container runtime, images
systemctl start --no-block plainkube-containerd plainkube-images
unpack # kubelet, proxy, kubectl
# A kubelet that is refused asks again after a pause that grows to seconds.
api_answers /etc/plainkube/pki/kubelet/ca.crt
systemctl start --no-block kubelet kube-proxy plainkube-routes
wait
