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
# Paths: all that the phase ships, and those of them that wait beside what is there.
shipped=() staged=()
changed=
units=()
# By unit: its inputs and its probe. By path: units that read it, its sum, where it leads as a link.
declare -A inputs=() probes=() known_inputs=() sums=() targets=()

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
  know_inputs
}

# file MODE PATH CONTENT: noted first, so that a reset finds it however this ends; then beside its target if there is one, so that
# a full disk leaves the old file whole. No process is started for it, as there are many.
file() {
  local list=$state/files.$phase at=$2
  if ! printf '%s\n' "$2" >>"$list"; then
    # Half a name would be taken for a file.
    truncate -s "$listed" "$list" || :
    no_space "$list"
  fi
  listed=$((listed + ${#2} + 1))
  shipped+=("$2")
  [ -d "${2%/*}" ] || (umask 022 && mkdir -p "${2%/*}") || no_space "$2"
  # Of a run that was cut off, with a mode of its own.
  if [ -e "$2.plainkube-new" ]; then rm -f "$2.plainkube-new"; fi
  if [ -e "$2" ] || [ -L "$2" ]; then
    at=$2.plainkube-new
    staged+=("$2")
  else
    forget "$2"
    case $2 in /etc/systemd/system/*) changed=1 ;; esac
  fi
  if [ "$1" = 0644 ]; then umask 022; fi
  printf %s "$3" >"$at" || { rm -f "$at"; no_space "$2"; }
  umask 077
  case $1 in 0600 | 0644) ;; *) chmod "$1" "$at" ;; esac
}

# secret MODE PATH CONTENT
secret() { file "$@"; }

# unit NAME PROBE INPUT…: restarted when the content of its file or of an input changed; ready when PROBE succeeds.
unit() {
  local name=$1
  units+=("$name")
  probes[$name]=$2
  shift 2
  inputs[$name]=$(printf '%s\n' "/etc/systemd/system/$name" "$@")
}

# verify UNIT…: a binary is started only while its content is the one that its name says: it looks as it did when it was
# received, or is hashed again.
verify() {
  local name input line target got node received
  local -A from=()
  for name in "$@"; do
    while read -r input; do
      if [ -n "${targets[$input]:-}" ]; then from[${targets[$input]}]="$name $input"; fi
    done <<<"${inputs[$name]}"
  done
  if [ ${#from[@]} -eq 0 ]; then return; fi
  received=$(cat "$state/verified" 2>/dev/null || :)
  while read -r line; do
    case $'\n'$received$'\n' in *$'\n'"$line"$'\n'*) continue ;; esac
    target=${line%% *}
    got=$(sha256sum <"$target")
    if [ "${got%% *}" != "${target##*/}" ]; then
      node=$(cat "$state/owner" 2>/dev/null || hostname)
      node=${node##*/}
      read -r name input <<<"${from[$target]}"
      fail "$target ($input) on $(hostname) is damaged, and $name was not started with it: got SHA-256 ${got%% *}, expected ${target##*/}." \
        "Look why its content changed (a bad disk, another program), then send it again: pulumi up --replace '**::${node%@*}-binaries-*'"
    fi
  done < <(stat -c '%n %i %s %.9Y %.9Z' "${!from[@]}")
}

# sum_up PATH…: leaves the sum of each in `sums`.
sum_up() {
  local line
  while read -r line; do sums[${line:66}]=${line:0:64}; done < <(sha256sum -- "$@")
}

# read_inputs: leaves in `sums` and `targets` what the units' inputs hold: a binary is a link named after its content.
read_inputs() {
  local input files=() links=() real i
  if [ ${#units[@]} -eq 0 ]; then return; fi
  while read -r input; do
    if [ -L "$input" ]; then links+=("$input"); else files+=("$input"); fi
  done < <(printf '%s\n' "${inputs[@]}" | sort -u)
  if [ ${#links[@]} -gt 0 ]; then
    mapfile -t real < <(readlink -e -- "${links[@]}")
    if [ ${#real[@]} -ne ${#links[@]} ]; then
      for input in "${links[@]}"; do
        readlink -e "$input" >/dev/null || fail "$input is missing on $(hostname). Run 'npm run drift -- --stack STACK --repair'."
      done
    fi
    for i in "${!links[@]}"; do targets[${links[i]}]=${real[i]}; done
  fi
  if [ ${#files[@]} -gt 0 ]; then sum_up "${files[@]}" 2>/dev/null; fi
}

# digest UNIT: of what its inputs hold.
digest() {
  local input
  while read -r input; do
    if [ -n "${targets[$input]:-}" ]; then
      printf '%s\n' "${targets[$input]}"
    elif [ -n "${sums[$input]:-}" ]; then
      printf '%s  %s\n' "${sums[$input]}" "$input"
    elif [ -e "$input" ]; then
      fail "$input, which $1 reads, cannot be read on $(hostname): $(sha256sum -- "$input" 2>&1 >/dev/null). Look at that disk, then run 'pulumi up' again."
    else
      fail "$input, which $1 reads, is missing on $(hostname). Run 'npm run drift -- --stack STACK --repair'."
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
  local path line same=()
  local -A looks=()
  if [ ${#staged[@]} -gt 0 ]; then
    # What is no file by now has no sum.
    sum_up "${staged[@]/%/.plainkube-new}" "${staged[@]}" 2>/dev/null
    while read -r line; do looks[${line#* * }]=${line% "${line#* * }"}; done < <(stat -c '%a %u %n' "${staged[@]/%/.plainkube-new}" "${staged[@]}")
  fi
  for path in "${staged[@]}"; do
    [ -n "${sums[$path.plainkube-new]:-}" ] || fail "$path.plainkube-new cannot be read on $(hostname), where it was just written. Look at that disk, then run 'pulumi up' again."
    if [ "${sums[$path.plainkube-new]}" = "${sums[$path]:-}" ]; then
      if [ "${looks[$path.plainkube-new]}" = "${looks[$path]:-}" ]; then
        same+=("$path.plainkube-new")
        continue
      fi
    else
      forget "$path"
    fi
    mv -fT "$path.plainkube-new" "$path"
    case $path in /etc/systemd/system/*) changed=1 ;; esac
  done
  if [ ${#same[@]} -gt 0 ]; then rm -f "${same[@]}"; fi
  if [ -f "$state/files.$phase" ]; then
    while read -r path; do
      case " ${shipped[*]} " in *" $path "*) continue ;; esac
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
  if [ ${#shipped[@]} -eq 0 ]; then
    rm -f "$state/files.$phase"
  else
    printf '%s\n' "${shipped[@]}" >"$state/files.$phase.new" || no_space "$state/files.$phase"
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

# answers PROBE: a probe by curl is run when the port is open, which costs far less to see.
answers() {
  if [[ $1 =~ ^curl\ .*://([0-9.]+):([0-9]+)/ ]] && [ -z "${open[${BASH_REMATCH[2]}]:-}" ]; then
    { : 3<>"/dev/tcp/${BASH_REMATCH[1]}/${BASH_REMATCH[2]}"; } 2>/dev/null || return 1
    open[${BASH_REMATCH[2]}]=1
  fi
  bash -c "$1" >/dev/null 2>&1
}

apply() {
  local name restart=() deadline sum asked=0
  local -A restarts=() open=()
  commit
  read_inputs
  for name in "${units[@]}"; do
    sum=$(digest "$name")
    printf '%s\n' "$sum" >"$state/unit.$name.new" || no_space "$state/unit.$name"
    printf '%s\n' "${inputs[$name]}" >"$state/inputs.$name" || no_space "$state/inputs.$name"
    if ! cmp -s "$state/unit.$name.new" "$state/unit.$name" || ! systemctl --quiet is-active "$name"; then
      restart+=("$name")
      rm -f "$state/unit.$name"
    fi
  done
  verify "${restart[@]}"
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
    until answers "${probes[$name]}"; do
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
