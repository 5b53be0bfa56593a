#!/usr/bin/env bash
# Puts on each host what kubeadm expects to be there, before the clock starts: containerd with every image, kubelet (enabled, as its
# package leaves it), kubectl, kubeadm, and the host's settings for pods.
#
#   prepare.sh FOLDER NAME…   FOLDER as of script/up.sh, with kubeadm (a tree of links) beside it
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$1
shift
archive() { tar --create --dereference --owner=0 --group=0 --file=- "$@"; }
on_host='set -euo pipefail
unpack() { tar --extract --preserve-permissions --no-overwrite-dir --directory=/; }
for part in files binaries images kubeadm; do unpack; done
rm /etc/systemd/system/kubelet.service
mv /etc/systemd/system/kubelet.kubeadm /etc/systemd/system/kubelet.service
systemctl enable --quiet plainkube-containerd kubelet
systemctl start plainkube-containerd plainkube-images
# kubeadm looks for this tag; pods run in the one that containerd is configured with, which is the same.
/opt/plainkube/bin/ctr --address /run/plainkube/containerd/containerd.sock --namespace k8s.io \
  images tag plainkube.local/pause:1.0.0 plainkube.local/pause:3.10.2
POD_CIDR=10.244.0.0/16 NETFILTER=iptables /opt/plainkube/scripts/prepare-network
mkdir -p /etc/kubernetes/manifests'
prepare() {
  archive --directory="$work/files/$1" etc/systemd/system etc/plainkube/containerd.toml etc/plainkube/cni opt
  archive --mode=0755 --directory="$work/binaries" opt/plainkube/bin/{containerd,containerd-shim-runc-v2,ctr,runc} opt/plainkube/{cni,images}
  archive --mode=0755 --directory="$work/kubeadm" opt usr
  archive --mode=0644 --directory="$here" --transform='s,kubelet.service,etc/systemd/system/kubelet.kubeadm,;s,init.yaml,root/init.yaml,' kubelet.service init.yaml
}
jobs=()
for host in "$@"; do
  prepare "$host" | ssh -F "$work/ssh_config" "$host" "$on_host" &
  jobs+=("$!")
done
for job in "${jobs[@]}"; do wait "$job"; done
