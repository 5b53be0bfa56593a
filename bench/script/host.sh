# shellcheck shell=bash
# Runs on a host, its files and binaries on standard input: one archive after another, each in use as soon as it is there, and at the
# end a line when the API answers. The line before this script sets control_plane (true on its host).
set -euo pipefail
umask 077
: "${control_plane:?}"

# The folders that are there keep their modes.
unpack() { tar --extract --preserve-permissions --no-overwrite-dir --directory=/; }

unpack # unit and config files
node=(plainkube-containerd plainkube-images kubelet kube-proxy plainkube-routes)

controllers=(kube-controller-manager kube-scheduler)
if [ "$control_plane" = true ]; then
  systemctl enable --quiet etcd kube-apiserver "${controllers[@]}" "${node[@]}"
  unpack # etcd, API server
  unpack # keys
  systemctl start --no-block etcd kube-apiserver
  unpack # controllers
else
  controllers=()
  systemctl enable --quiet "${node[@]}"
  unpack # keys
fi

unpack # container runtime, images
systemctl start --no-block plainkube-containerd plainkube-images
unpack # kubelet, proxy, kubectl
# A kubelet that is refused asks again after a pause that grows to seconds, and controllers look only once a second.
read -r _
systemctl start --no-block "${controllers[@]}" kubelet kube-proxy plainkube-routes
