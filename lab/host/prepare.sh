#!/bin/bash
# Runs once per boot inside a test host, before its services. Container runtimes need to make cgroups, and pods need
# mounts that propagate; systemd-nspawn gives neither.
set -euo pipefail

mount --make-rshared /
mount -o remount,bind,rw /sys/fs/cgroup
findmnt --raw --noheadings --output TARGET --types cgroup,cgroup2 | while read -r target; do
  mount -o remount,bind,rw "$target"
done
