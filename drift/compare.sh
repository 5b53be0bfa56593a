# shellcheck shell=bash
# Compares this host with what one phase has shipped to it, and changes nothing. Runs as root. The lines below this script
# are those that the phase ran with `apply.sh`: they name the files (`file`, `secret`) and units (`unit`) and end with `apply`.
# Prints a line a difference: `<subject>: <what>`; lines of a file's difference follow it, indented.
set -euo pipefail
umask 077
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

state=/var/lib/plainkube/state
declare -A differs=() told=()

begin() { [ -d "$state" ]; }

# file MODE PATH CONTENT
file() {
  local what
  what=$(look "$1" "$2")
  if [ -z "$what" ] && ! printf %s "$3" | cmp -s - "$2"; then what="has other content"; fi
  if [ -n "$what" ]; then differs[$2]=$what; fi
}

# secret MODE PATH CONTENT
secret() { file "$@"; }

# look MODE PATH: what is wrong with it but for its content.
look() {
  local is
  if [ ! -e "$2" ]; then
    echo "is missing"
  elif [ -L "$2" ] || [ ! -f "$2" ]; then
    echo "is $(stat -c %F "$2"), not a file"
  else
    is=$(stat -c '%a of uid %u' "$2")
    [ "$is" = "${1#0} of uid 0" ] || echo "has mode $is, not ${1#0} of uid 0"
  fi
}

# unit NAME PROBE INPUT…
unit() {
  local name=$1 input what properties drops
  shift 2
  for input in "/etc/systemd/system/$name" "$@"; do
    if [ -n "${differs[$input]:-}" ]; then
      told[$input]=1
      echo "$name: $input ${differs[$input]}"
    fi
  done
  # No subject of its own where there is no unit file.
  if [ -n "${differs[/etc/systemd/system/$name]:-}" ] && [ ! -e "/etc/systemd/system/$name" ]; then return; fi
  what=$(systemctl is-active "$name" || :)
  [ "$what" = active ] || echo "$name: is $what, not active"
  what=$(systemctl is-enabled "$name" 2>/dev/null || :)
  [ "$what" = enabled ] || echo "$name: is $what, so that the next boot does not start it"
  if [ "$(systemctl show --property NeedDaemonReload --value "$name")" = yes ]; then
    echo "$name: its files have changed since systemd read them"
  fi
  properties=$(systemctl show --property DropInPaths --value "$name")
  for drops in $properties; do
    case $drops in
      */"$name".d/*) echo "$name: $drops is not of this cluster; remove it and run 'systemctl daemon-reload'" ;;
    esac
  done
  case $name in plainkube-routes.service | flanneld.service) settings "$name" ;; esac
}

# settings UNIT: the kernel's, as prepare-network sets them.
settings() {
  local setting
  if [ ! -e /opt/plainkube/scripts/prepare-network ]; then return; fi
  for setting in net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables; do
    if [ "$(sysctl --values "$setting" 2>/dev/null || :)" != 1 ]; then
      echo "$1: $setting is $(sysctl --values "$setting" 2>/dev/null || echo unknown), not 1"
    fi
  done
}

# binary NAME LINK STORE: a link into the store, to what it is named after.
binary() {
  local target
  target=$(readlink "$2" || :)
  if [ "${target%/*}" != "$3" ]; then
    echo "binary $1: $2 is no link into $3"
  elif [ ! -f "$target" ]; then
    echo "binary $1: $target is missing"
  elif ! printf '%s  %s\n' "${target##*/}" "$target" | sha256sum --check --status; then
    echo "binary $1: $target has other content than its name says"
  fi
}

# Files that are no unit's input are named by themselves.
apply() {
  local path
  for path in "${!differs[@]}"; do
    if [ -z "${told[$path]:-}" ]; then echo "file $path: ${differs[$path]}"; fi
  done
}
