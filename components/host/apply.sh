# shellcheck shell=bash
# Ships the files of one phase to this host and restarts exactly the units whose inputs changed.
# Runs as root. The lines below this script name the files (`file`, `secret`) and units (`unit`) and end with `apply`.
# Half-done runs are completed by the next: every step looks at what is there.
set -euo pipefail
umask 077
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

state=/var/lib/plainkube/state
phase=
staged=()
changed=
units=()
declare -A inputs=() probes=()

fail() {
  printf 'plainkube: %s\n' "$*" >&2
  exit 1
}

# begin PHASE: what this phase shipped before is forgotten unless it is named again.
begin() {
  phase=$1
  [ -d "$state" ] || fail "$(hostname) is not prepared: $state is missing." \
    "The host was reset or replaced behind Pulumi's back; run 'npm run drift -- --repair' (for the control plane 'pulumi destroy', then 'pulumi up')."
  exec 9>"$state/lock.$phase"
  flock -w 300 9 || fail "another run holds $state/lock.$phase for 5 minutes. Wait for it or end it, then run 'pulumi up' again."
}

# file MODE PATH < CONTENT: noted first, so that a reset finds it however this ends; then beside its target, so that a full
# disk leaves the old file whole.
file() {
  printf '%s\n' "$2" >>"$state/files.$phase" || fail "cannot write to $state on $(hostname). Free disk space there, then run 'pulumi up' again."
  (umask 022 && mkdir -p "${2%/*}")
  cat >"$2.plainkube-new" || fail "cannot write $2 on $(hostname). Free disk space there, then run 'pulumi up' again."
  chmod "$1" "$2.plainkube-new"
  staged+=("$2")
}

# secret MODE PATH BASE64
secret() { file "$1" "$2" < <(base64 -d <<<"$3"); }

# unit NAME PROBE INPUT…: restarted when the content of its file or of an input changed; ready when PROBE succeeds.
unit() {
  local name=$1
  units+=("$name")
  probes[$name]=$2
  shift 2
  inputs[$name]=$(printf '%s\n' "/etc/systemd/system/$name" "$@")
}

digest() {
  local input
  while read -r input; do
    # A binary is a link named after its content.
    if [ -L "$input" ]; then
      readlink -e "$input" || fail "$input is missing on $(hostname). Run 'npm run drift -- --repair'."
    else
      sha256sum "$input"
    fi
  done <<<"${inputs[$1]}" | sha256sum
}

# forget PATH: units with this input are started again, also if they ran with another content since their last good start.
forget() {
  local name
  for name in "${units[@]}"; do
    case $'\n'${inputs[$name]}$'\n' in *$'\n'"$1"$'\n'*) rm -f "$state/unit.$name" ;; esac
  done
}

# Leaves in `changed` whether systemd has to read its files again.
commit() {
  local path
  for path in "${staged[@]}"; do
    if cmp -s "$path.plainkube-new" "$path" && [ "$(stat -c %a "$path.plainkube-new")" = "$(stat -c %a "$path")" ]; then
      rm -f "$path.plainkube-new"
    else
      cmp -s "$path.plainkube-new" "$path" || forget "$path"
      mv -fT "$path.plainkube-new" "$path"
      case $path in /etc/systemd/system/*) changed=1 ;; esac
    fi
  done
  if [ -f "$state/files.$phase" ]; then
    while read -r path; do
      case " ${staged[*]} " in *" $path "*) continue ;; esac
      case $path in
        /etc/systemd/system/*)
          # Gone already where an earlier run was cut off.
          if [ -e "$path" ]; then systemctl disable --now --quiet "${path##*/}"; fi
          changed=1
          ;;
      esac
      rm -f "$path" "$path.plainkube-new"
      echo "removed $path"
    done < <(sort -u "$state/files.$phase")
  fi
  if [ ${#staged[@]} -eq 0 ]; then
    rm -f "$state/files.$phase"
  else
    printf '%s\n' "${staged[@]}" >"$state/files.$phase.new"
    mv -fT "$state/files.$phase.new" "$state/files.$phase"
  fi
}

explain() {
  printf 'plainkube: %s on %s %s.\n' "$1" "$(hostname)" "$2" >&2
  systemctl --no-pager --lines=0 status "$1" >&2 || :
  journalctl --no-pager --quiet --output=cat --unit="$1" --lines=15 >&2 || :
  fail "look at 'journalctl -u $1' on the host, correct the setting, then run 'pulumi up' again."
}

apply() {
  local name restart=() deadline
  commit
  for name in "${units[@]}"; do
    digest "$name" >"$state/unit.$name.new"
    if ! cmp -s "$state/unit.$name.new" "$state/unit.$name" || ! systemctl --quiet is-active "$name"; then
      restart+=("$name")
      rm -f "$state/unit.$name"
    fi
  done
  # Before every restart, for a run that was cut off between a unit's file and this.
  if [ -n "$changed" ] || [ ${#restart[@]} -gt 0 ]; then systemctl daemon-reload; fi
  if [ ${#restart[@]} -gt 0 ]; then
    systemctl enable --quiet "${restart[@]}"
    systemctl reset-failed --quiet "${restart[@]}" 2>/dev/null || :
    if ! systemctl restart "${restart[@]}"; then
      for name in "${restart[@]}"; do
        systemctl --quiet is-active "$name" || explain "$name" "did not start"
      done
    fi
  fi
  for name in "${units[@]}"; do
    deadline=$((SECONDS + 90))
    until bash -c "${probes[$name]}" >/dev/null 2>&1; do
      if systemctl --quiet is-failed "$name"; then explain "$name" "failed"; fi
      if [ "$(systemctl show --property NRestarts --value "$name")" -ge 3 ]; then explain "$name" "fails again and again"; fi
      if [ $SECONDS -ge $deadline ]; then explain "$name" "was not ready within 90 s"; fi
      sleep 0.1
    done
    mv -fT "$state/unit.$name.new" "$state/unit.$name"
  done
  if [ ${#restart[@]} -gt 0 ]; then echo "restarted ${restart[*]}"; else echo "nothing to restart"; fi
}
