# shellcheck shell=bash
# Asks the API server as each user, and passes when every answer is what the API server's own review says of the user's
# name and groups. Keys stay in memory: nothing of them is in a file or a command line.
# The lines before this script set: api (its URL), ca (file of the authority), seconds (longest wait). Those after it call
# `administrator`, `anonymous`, `role` for each role, `roles_are_there`, and for each user `user` and `ask`.
set -euo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

: "${api:?}" "${ca:?}" "${seconds:?}"
missing=()

# request METHOD PATH BODY [CERTIFICATE KEY]: leaves the answer's status in $code and its body in $body.
request() {
  local answer
  local options=(--silent --show-error --max-time 10 --cacert "$ca" --request "$1" --write-out '\n%{http_code}')
  if [ -n "$3" ]; then options+=(--header 'Content-Type: application/json' --data "$3"); fi
  if [ $# -gt 3 ]; then
    answer=$(curl "${options[@]}" --cert <(printf %s "$4" | base64 -d) --key <(printf %s "$5" | base64 -d) "$api$2") || :
  else
    answer=$(curl "${options[@]}" "$api$2") || :
  fi
  code=${answer##*$'\n'}
  body=${answer%$'\n'*}
}

# A change of rights reaches the API server's memory a moment after it is stored.
wait_for() {
  until "$@"; do
    if [ "$SECONDS" -ge "$seconds" ]; then return 1; fi
    sleep 0.2
  done
}

fail() {
  printf 'plainkube: %s\n' "$1" >&2
  exit 1
}

admin_request() { request "$1" "$2" "$3" "$admin_cert" "$admin_key"; }
admin_is_let_in() { admin_request GET /api/v1/namespaces "" && [ "$code" = 200 ]; }

# administrator CERTIFICATE KEY (both base64)
administrator() {
  admin_cert=$1 admin_key=$2
  wait_for admin_is_let_in || fail "the API server answers the administrator with $code; expected 200; see 'journalctl -u kube-apiserver' on this host"
  echo "kubernetes-admin: list namespaces: allowed ($code)"
}

anonymous() {
  request GET /api/v1/namespaces ""
  case $code in
    401 | 403) echo "anonymous: list namespaces: refused ($code)" ;;
    *) fail "the API server answers anonymous requests with $code; expected 401 or 403; look for what lets them in (overrides.kubeApiserver)" ;;
  esac
}

# role NAME: what a binding names must be there, or it would give nothing.
role() {
  admin_request GET "/apis/rbac.authorization.k8s.io/v1/clusterroles/$1" ""
  [ "$code" = 200 ] || missing+=("$1")
}

# user NAME CERTIFICATE KEY: the asker of the questions that follow.
user() { name=$1 cert=$2 key=$3; }

# Whether the API server does what its review says.
agrees() {
  admin_request POST /apis/authorization.k8s.io/v1/subjectaccessreviews "$2"
  if grep -Eq '"allowed": ?true' <<<"$body"; then says=allowed; else says=refused; fi
  [ "$code" = 201 ] || says="nothing (status $code)"
  request GET "$1" "" "$cert" "$key"
  case $code in 200) does=allowed ;; 403) does=refused ;; *) does="status $code" ;; esac
  [ "$does" = "$says" ]
}

# ask WHAT PATH REVIEW
ask() {
  wait_for agrees "$2" "$3" || fail "the API server answers $name who wants to $1: $does; expected what its review says of the name and groups in plainkube:users: $says; see 'journalctl -u kube-apiserver' on this host"
  echo "$name: $1: $does ($code)"
}

roles_are_there() {
  [ ${#missing[@]} -eq 0 ] || fail "plainkube:users binds ClusterRoles that are not there: ${missing[*]}; expected ones that exist; correct their names, or make them, and run 'pulumi up' again"
}
