# shellcheck shell=bash
# Keys, certificates and kubeconfigs by openssl, in the order in which they are needed. Sourced by up.sh and join.sh, which set:
# ca (folder of the authorities' keys), out (folder with a tree of files per host), api (address of the API server).
: "${ca:?}" "${out:?}" "${api:?}"

subject_only=$'[req]\ndistinguished_name=dn\n[dn]\n'
new_key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)

# authority NAME COMMON-NAME
authority() {
  openssl req -x509 -config <(printf %s "$subject_only") "${new_key[@]}" -keyout "$ca/$1.key" -out "$ca/$1.crt" -days 3650 \
    -subj "/CN=$2" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -addext subjectKeyIdentifier=hash 2>/dev/null
}

# certificate AUTHORITY FILE SUBJECT USES [NAMES]: FILE.crt and FILE.key, valid for a year. USES: clientAuth, serverAuth or both; NAMES as
# openssl's subjectAltName has them.
certificate() {
  mkdir -p "${2%/*}"
  openssl req -x509 -config <(printf %s "$subject_only") "${new_key[@]}" -keyout "$2.key" -out "$2.crt" -days 365 \
    -CA "$ca/$1.crt" -CAkey "$ca/$1.key" -subj "$3" -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature \
    -addext "extendedKeyUsage=$4" ${5:+-addext "subjectAltName=$5"} 2>/dev/null
}

# kubeconfig FILE SUBJECT [CERTIFICATE]: of a client with a new certificate for SUBJECT, or with one that is there.
kubeconfig() {
  local file=$1 pair=${3:-$1.pair}
  [ $# = 3 ] || certificate kubernetes "$pair" "$2" clientAuth
  cat >"$file" <<END
apiVersion: v1
kind: Config
current-context: default
clusters: [{name: default, cluster: {server: "https://$api:6443", certificate-authority-data: $(base64 -w0 "$ca/kubernetes.crt")}}]
users: [{name: default, user: {client-certificate-data: $(base64 -w0 "$pair.crt"), client-key-data: $(base64 -w0 "$pair.key")}}]
contexts: [{name: default, context: {cluster: default, user: default}}]
END
  [ $# = 3 ] || rm "$pair.crt" "$pair.key"
}

# The three authorities and the key that signs service accounts' tokens.
make_authorities() {
  mkdir -p "$ca"
  authority kubernetes kubernetes-ca &
  authority etcd etcd-ca &
  authority front-proxy front-proxy-ca &
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$ca/sa.key" 2>/dev/null
  openssl pkey -in "$ca/sa.key" -pubout -out "$ca/sa.pub"
  wait
}

# make_control_plane HOST: what etcd, the API server and the controllers on HOST ask for.
make_control_plane() {
  local etc=$out/$1/etc/plainkube pki=$out/$1/etc/plainkube/pki
  mkdir -p "$pki/etcd" "$etc/kubeconfig"
  cp "$ca/etcd.crt" "$pki/etcd/ca.crt"
  cp "$ca/kubernetes.crt" "$pki/ca.crt"
  cp "$ca/kubernetes.key" "$pki/ca.key"
  cp "$ca/front-proxy.crt" "$pki/front-proxy-ca.crt"
  cp "$ca/sa.key" "$ca/sa.pub" "$pki"
  certificate etcd "$pki/etcd/server" "/CN=$1" serverAuth "DNS:$1,DNS:localhost,IP:127.0.0.1,IP:$api"
  certificate etcd "$pki/etcd/peer" "/CN=$1" serverAuth,clientAuth "DNS:$1,IP:$api"
  certificate etcd "$pki/apiserver-etcd-client" /CN=kube-apiserver-etcd-client clientAuth
  certificate kubernetes "$pki/apiserver" /CN=kube-apiserver serverAuth \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:$1,DNS:localhost,IP:127.0.0.1,IP:$api,IP:10.96.0.1"
  certificate kubernetes "$pki/apiserver-kubelet-client" /CN=kube-apiserver-kubelet-client clientAuth
  certificate front-proxy "$pki/front-proxy-client" /CN=front-proxy-client clientAuth
  kubeconfig "$etc/kubeconfig/controller-manager.yaml" /CN=system:kube-controller-manager
  kubeconfig "$etc/kubeconfig/scheduler.yaml" /CN=system:kube-scheduler
  cat >"$etc/encryption.yaml" <<END
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers: [{secretbox: {keys: [{name: key1, secret: $(openssl rand -base64 32)}]}}, {identity: {}}]
END
}

# make_node HOST ADDRESS: what the kubelet, kube-proxy and the routes of HOST ask for.
make_node() {
  local etc=$out/$1/etc/plainkube
  mkdir -p "$etc/pki/kubelet" "$etc/kubeconfig"
  cp "$ca/kubernetes.crt" "$etc/pki/kubelet/ca.crt"
  certificate kubernetes "$etc/pki/kubelet/serving" "/O=system:nodes/CN=system:node:$1" serverAuth "DNS:$1,IP:$2"
  kubeconfig "$etc/kubeconfig/kubelet.yaml" "/O=system:nodes/CN=system:node:$1"
  kubeconfig "$etc/kubeconfig/kube-proxy.yaml" /CN=system:kube-proxy "$ca/proxy"
}
