#!/usr/bin/env bash
# Bytes to a host with nothing but ssh and cat, and OpenSSH's own choice of everything.
#
#   cat.sh FOLDER HOST FILE…   FOLDER as of up.sh; what arrives is /opt/sent
set -euo pipefail
work=$1 host=$2
shift 2
cat "$@" | ssh -F "$work/ssh_config" -o ControlPath=none "$host" 'cat >/opt/sent'
