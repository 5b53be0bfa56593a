#!/usr/bin/env bash
# On the control plane's host: prints a tar archive with a kubeconfig for each hollow node, whose client certificate the
# cluster's authority has signed as it does a kubelet's. Usage: bash -s -- FIRST LAST SERVER
set -euo pipefail
first=$1 last=$2 server=$3
pki=/etc/plainkube/pki
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir kubeconfigs
ca=$(base64 --wrap=0 "$pki/ca.crt")
# One key for all: what is looked at is the name.
openssl ecparam -name prime256v1 -genkey -noout -out key
key=$(base64 --wrap=0 key)
for i in $(seq "$first" "$last"); do
  openssl req -new -key key -subj "/O=system:nodes/CN=system:node:hollow-$i" -out request
  openssl x509 -req -in request -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -set_serial "$((RANDOM * 32768 + RANDOM))" -days 1 \
    -extfile <(echo extendedKeyUsage=clientAuth) -out certificate 2>openssl.log || { cat openssl.log >&2; exit 1; }
  cat >"kubeconfigs/$i" <<END
{"apiVersion": "v1", "kind": "Config", "current-context": "hollow",
 "clusters": [{"name": "hollow", "cluster": {"server": "$server", "certificate-authority-data": "$ca"}}],
 "users": [{"name": "hollow", "user": {"client-certificate-data": "$(base64 --wrap=0 certificate)", "client-key-data": "$key"}}],
 "contexts": [{"name": "hollow", "context": {"cluster": "hollow", "user": "hollow"}}]}
END
done
tar --create --directory=kubeconfigs . | base64 --wrap=0
