# shellcheck shell=bash
# Ships the files of one phase to this host and restarts exactly the units whose inputs changed.
# Runs as root. The lines below this script name the files (`file`, `secret`) and units (`unit`) and end with `apply`.
# Half-done runs are completed by the next: every step looks at what is there.
set -euo pipefail
umask 077
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C

state=/var/lib/plainkube/state
phase=
# Bytes of the list of what this phase has shipped.
listed=0
staged=()
changed=
units=()
declare -A inputs=() probes=() known_inputs=()

fail() {
  printf 'plainkube: %s\n' "$*" >&2
  exit 1
}

# no_space PATH: for a write that failed.
no_space() {
  local way=$1
  until [ -d "$way" ]; do
    way=${way%/*}
    way=${way:-/}
  done
  fail "cannot write $1 on $(hostname): $(df --block-size=M --output=avail,target "$way" | sed -n '2s/^ *\([0-9]*\)M /\1 MiB are free on /p')." \
    "Free disk space there, then run 'pulumi up' again: the old file is still in place."
}

# begin PHASE: what this phase shipped before is forgotten unless it is named again.
begin() {
  phase=$1
  [ -d "$state" ] || fail "$(hostname) is not prepared: $state is missing." \
    "The host was reset or replaced behind Pulumi's back; run 'npm run drift -- --stack STACK --repair' (for the control plane 'pulumi destroy', then 'pulumi up')."
  exec 9>"$state/lock.$phase"
  flock -w 300 9 || fail "another run holds $state/lock.$phase for 5 minutes. Wait for it or end it, then run 'pulumi up' again."
  listed=$(stat -c %s "$state/files.$phase" 2>/dev/null || echo 0)
}

# file MODE PATH < CONTENT: noted first, so that a reset finds it however this ends; then beside its target, so that a full
# disk leaves the old file whole.
file() {
  local list=$state/files.$phase
  if ! printf '%s\n' "$2" >>"$list"; then
    # Half a name would be taken for a file.
    truncate -s "$listed" "$list" || :
    no_space "$list"
  fi
  listed=$((listed + ${#2} + 1))
  [ -d "${2%/*}" ] || (umask 022 && mkdir -p "${2%/*}") || no_space "$2"
  cat >"$2.plainkube-new" || no_space "$2"
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

# verify UNIT: a binary is started only while its content is the one that its name says: it looks as it did when it was
# received, or is hashed again.
verify() {
  local input target got node
  while read -r input; do
    if [ ! -L "$input" ] || ! target=$(readlink -e "$input"); then continue; fi
    if grep -qsxF "$(stat -c '%n %i %s %.9Y %.9Z' "$target")" "$state/verified"; then continue; fi
    got=$(sha256sum <"$target")
    if [ "${got%% *}" != "${target##*/}" ]; then
      node=$(cat "$state/owner" 2>/dev/null || hostname)
      node=${node##*/}
      fail "$target ($input) on $(hostname) is damaged, and $1 was not started with it: got SHA-256 ${got%% *}, expected ${target##*/}." \
        "Look why its content changed (a bad disk, another program), then send it again: pulumi up --replace '**::${node%@*}-binaries-*'"
    fi
  done <<<"${inputs[$1]}"
}

digest() {
  local input
  while read -r input; do
    # A binary is a link named after its content.
    if [ -L "$input" ]; then
      readlink -e "$input" || fail "$input is missing on $(hostname). Run 'npm run drift -- --stack STACK --repair'."
    else
      sha256sum "$input"
    fi
  done <<<"${inputs[$1]}" | sha256sum
}

# forget PATH: units with this input, of other phases too, are started again when their phase is shipped, also if they ran with
# another content since their last good start.
forget() {
  local noted=${known_inputs[$1]:-} name
  for name in $noted; do rm -f "$state/unit.$name"; done
}
# Leaves in `known_inputs` the units of each path that they read, as noted when they were last shipped.
know_inputs() {
  local note path
  for note in "$state"/inputs.*; do
    [ -e "$note" ] || continue
    while read -r path; do known_inputs[$path]+=" ${note##*/inputs.}"; done <"$note"
  done
}

# Leaves in `changed` whether systemd has to read its files again.
commit() {
  local path
  know_inputs
  for path in "${staged[@]}"; do
    if [ -e "$path" ] && cmp -s "$path.plainkube-new" "$path"; then
      if [ "$(stat -c '%a %u' "$path.plainkube-new")" = "$(stat -c '%a %u' "$path")" ]; then
        rm -f "$path.plainkube-new"
        continue
      fi
    else
      forget "$path"
    fi
    mv -fT "$path.plainkube-new" "$path"
    case $path in /etc/systemd/system/*) changed=1 ;; esac
  done
  if [ -f "$state/files.$phase" ]; then
    while read -r path; do
      case " ${staged[*]} " in *" $path "*) continue ;; esac
      if [ -d "$path" ]; then continue; fi
      case $path in
        /etc/systemd/system/*)
          # Gone already where an earlier run was cut off.
          if [ -e "$path" ]; then systemctl disable --now --quiet "${path##*/}"; fi
          changed=1
          ;;
      esac
      rm -f "$path" "$path.plainkube-new" "$state/inputs.${path##*/}"
      echo "removed $path"
    done < <(sort -u "$state/files.$phase")
  fi
  if [ ${#staged[@]} -eq 0 ]; then
    rm -f "$state/files.$phase"
  else
    printf '%s\n' "${staged[@]}" >"$state/files.$phase.new" || no_space "$state/files.$phase"
    mv -fT "$state/files.$phase.new" "$state/files.$phase"
  fi
}

explain() {
  printf 'plainkube: %s on %s %s.\n' "$1" "$(hostname)" "$2" >&2
  systemctl --no-pager --lines=0 status "$1" >&2 || :
  journalctl --no-pager --quiet --output=cat --unit="$1" --lines=15 >&2 || :
  # What a log may not name.
  while read -r free mount; do
    if [ "$free" -lt 10 ]; then printf 'plainkube: the disk of %s on %s is full: %s MiB are free. Free space there.\n' "$mount" "$(hostname)" "$free" >&2; fi
  done < <(df --block-size=M --output=avail,target /etc /opt /var/lib/plainkube /var/lib/plainkube/containerd /var/lib/kubelet /var/log 2>/dev/null |
    sed -n '2,$s/^ *\([0-9]*\)M /\1 /p' | sort -u)
  fail "look at 'journalctl -u $1' on the host, correct the setting, then run 'pulumi up' again."
}

apply() {
  local name restart=() deadline sum asked=0
  local -A restarts=()
  commit
  for name in "${units[@]}"; do
    sum=$(digest "$name")
    printf '%s\n' "$sum" >"$state/unit.$name.new" || no_space "$state/unit.$name"
    printf '%s\n' "${inputs[$name]}" >"$state/inputs.$name" || no_space "$state/inputs.$name"
    if ! cmp -s "$state/unit.$name.new" "$state/unit.$name" || ! systemctl --quiet is-active "$name"; then
      restart+=("$name")
      rm -f "$state/unit.$name"
    fi
  done
  for name in "${restart[@]}"; do verify "$name"; done
  # One reload for both, as systemd runs all its generators with each.
  if [ ${#restart[@]} -gt 0 ]; then systemctl enable --quiet --no-reload "${restart[@]}"; fi
  # Before every restart, for a run that was cut off between a unit's file and this.
  if [ -n "$changed" ] || [ ${#restart[@]} -gt 0 ]; then systemctl daemon-reload; fi
  if [ ${#restart[@]} -gt 0 ]; then
    systemctl reset-failed --quiet "${restart[@]}" 2>/dev/null || :
    if ! systemctl restart "${restart[@]}"; then
      for name in "${restart[@]}"; do
        systemctl --quiet is-active "$name" || explain "$name" "did not start"
      done
    fi
  fi
  for name in "${units[@]}"; do
    # One that came to work by itself, after failures that are over, was not restarted: those do not count.
    case " ${restart[*]} " in
      *" $name "*) restarts[$name]=0 ;;
      *) restarts[$name]=$(systemctl show --property NRestarts --value "$name") ;;
    esac
  done
  for name in "${units[@]}"; do
    deadline=$((SECONDS + 90))
    until bash -c "${probes[$name]}" >/dev/null 2>&1; do
      # Once a second: systemd has better to do meanwhile.
      if [ $((asked += 1)) -ge 10 ] || [ $SECONDS -ge $deadline ]; then
        asked=0
        if systemctl --quiet is-failed "$name"; then explain "$name" "failed"; fi
        if [ "$(systemctl show --property NRestarts --value "$name")" -ge $((restarts[$name] + 3)) ]; then explain "$name" "fails again and again"; fi
        if [ $SECONDS -ge $deadline ]; then explain "$name" "was not ready within 90 s"; fi
      fi
      sleep 0.1
    done
    mv -fT "$state/unit.$name.new" "$state/unit.$name"
  done
  if [ ${#restart[@]} -gt 0 ]; then echo "restarted ${restart[*]}"; else echo "nothing to restart"; fi
}
