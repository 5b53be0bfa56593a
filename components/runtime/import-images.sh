#!/usr/bin/env bash
# Imports every image archive that lies here, and pins what is in it: there is no registry to pull it from again.
set -euo pipefail
ctr=(/opt/plainkube/bin/ctr --address /run/plainkube/containerd/containerd.sock --namespace k8s.io)
for archive in /opt/plainkube/images/*.tar; do
  "${ctr[@]}" images import --local "$archive"
done
while read -r image; do
  "${ctr[@]}" images label "$image" io.cri-containerd.pinned=pinned
done < <("${ctr[@]}" images list --quiet | grep '^plainkube.local/')
