#!/usr/bin/env bash
# One flag of the scheduler changed on a host of a running cluster, by hand: the file, the restart, and the wait until it works, in one
# session.
#
#   change-flag.sh FOLDER NAME=ADDRESS…   FOLDER as of up.sh; the first host is the control plane
set -euo pipefail
work=$1
host=${2%%=*}
# A connection of its own, as someone who has come for this one thing would open.
ssh -F "$work/ssh_config" -o ControlPath=none "$host" 'set -e
sed -i "s,--tls-min-version=VersionTLS12$,& --v=3," /etc/systemd/system/kube-scheduler.service
systemctl daemon-reload
systemctl restart kube-scheduler
until curl --silent --fail --insecure --output /dev/null https://127.0.0.1:10259/healthz; do sleep 0.1; done'
