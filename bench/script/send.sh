# shellcheck shell=bash
# Archives for a host's standard input. Sourced by up.sh and join.sh, which set: here, work, run, out, ca, api.
: "${here:?}" "${work:?}" "${run:?}" "${out:?}" "${ca:?}" "${api:?}"
archive() { tar --create --dereference --owner=0 --group=0 --file=- "$@"; }

# files HOST: its unit and config files.
files() { archive --directory="$work/files/$1" .; }
# keys HOST: its keys, certificates and kubeconfigs.
keys() { archive --directory="$out/$1" .; }
# binaries PATH…, below /opt/plainkube.
binaries() { archive --mode=0755 --directory="$work/binaries" "${@/#/opt/plainkube/}"; }

# Containers first: images are imported while the kubelet is still on its way.
runtime_stream() {
  binaries bin/containerd bin/containerd-shim-runc-v2 bin/ctr bin/runc cni images
  binaries bin/kubelet bin/kube-proxy bin/kubectl
  until_marked api-answers
  echo go
}

# within SECONDS COMMAND…: until it succeeds, asked ten times a second; else this ends.
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    if [ $SECONDS -ge $deadline ]; then
      echo "not within time: $*" >&2
      exit 1
    fi
    sleep 0.1
  done
}

# What one part of the work has done, others wait for.
mark() { : >"$run/mark.$1"; }
until_marked() { within 90 test -e "$run/mark.$1"; }

# until_api_answers: one asks for all who wait for the mark.
until_api_answers() {
  within 90 curl --silent --fail --output /dev/null --cacert "$ca/kubernetes.crt" "https://$api:6443/readyz"
  mark api-answers
}

# on_host HOST CONTROL-PLANE: host.sh in one session, fed from standard input. The cipher is the cheapest that sshd's defaults let in.
on_host() {
  ssh -F "$work/ssh_config" -c aes128-gcm@openssh.com "$1" "control_plane=$2"$'\n'"$(cat "$here/host.sh")"
}
