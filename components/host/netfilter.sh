# shellcheck shell=bash
# Takes away what plainkube, and what it runs, puts into netfilter. Kubernetes' chains and tables are known by their names; those of
# the portmap plugin are shared with every other user of it, so that only what is there for our containers goes.
# Part of reset.sh and of the removal of a runtime, and sourced by prepare-network.sh.

# The chains that were there before us, a line each: family, table, chain.
chains_before=/var/lib/plainkube/state/chains.before
was_there() { grep -qsxF "$1" "$chains_before"; }

# Ids of our sandboxes; the network's name is part of the names of libcni's notes.
our_sandboxes() {
  local note
  for note in /var/lib/cni/results/plainkube-*-eth0; do
    [ -e "$note" ] || continue
    note=${note##*/plainkube-}
    echo "${note%-eth0}"
  done
}

# remove_iptables [host-ports]: all of ours, or the host ports of our containers alone. A kube-proxy that starts takes away what its
# other mode has left, too: what was gone meanwhile makes another try.
remove_iptables() {
  local left
  for ((left = 4; left > 0; left--)); do
    if try_remove_iptables "${1:-all}" 2>/dev/null; then return 0; fi
    sleep 0.3
  done
  try_remove_iptables "${1:-all}"
}

# One transaction a table.
try_remove_iptables() {
  local what=$1 family table rules keep
  for family in iptables ip6tables; do
    command -v "$family-save" >/dev/null || continue
    for table in $("$family-save" 2>/dev/null | sed -n 's/^\*//p'); do
      keep=0
      if was_there "$([ "$family" = iptables ] && echo ip || echo ip6) $table CNI-HOSTPORT-DNAT"; then keep=1; fi
      rules=$("$family-save" -t "$table" 2>/dev/null | awk -v what="$what" -v keep="$keep" '
        function mine(chain) { return chain in container || (what == "all" && chain ~ /^KUBE-/) || (!shared && chain ~ /^CNI-HOSTPORT-(DNAT|MASQ|SETMARK)$/) }
        /^\*/ { print; next }
        /^:/ { chains[++n] = substr($1, 2); next }
        /^-A/ { lines[++m] = $0; from[m] = $2 }
        /^-A CNI-HOSTPORT-DNAT / { if (/ --comment "dnat name: \\"plainkube\\" id: /) container[$NF] = 1; else keep = 1 }
        END {
          for (name in container) found = 1
          # The plugin makes its own chains again when they are missed.
          shared = keep || (what != "all" && !found)
          for (i = 1; i <= n; i++) if (mine(chains[i])) print ":" chains[i] " - [0:0]"
          for (i = 1; i <= m; i++) {
            if (mine(from[i])) continue
            jump = match(lines[i], / -[jg] [^ ]+/) ? substr(lines[i], RSTART + 4, RLENGTH - 4) : ""
            if (mine(jump) || (what == "all" && lines[i] ~ / --comment "?plainkube"? /)) { sub(/^-A/, "-D", lines[i]); print lines[i] }
          }
          for (i = 1; i <= n; i++) if (mine(chains[i])) print "-X " chains[i]
          print "COMMIT"
        }')
      case $rules in *-D\ * | *-X\ *) "$family-restore" --noflush --wait 10 <<<"$rules" || return ;; esac
    done
  done
}

# The rules of our containers in a table of portmap; the table, where nothing is left in it and it was not there before.
remove_host_ports() {
  local family=$1 ids chain handle listed
  ids=$(our_sandboxes)
  while read -r chain handle; do
    nft delete rule "$family" cni_hostport "$chain" handle "$handle" || return
  done < <(nft --handle list table "$family" cni_hostport | awk -v ids="$ids" '
    BEGIN { split(ids, all, "\n"); for (i in all) ours[all[i]] = 1 }
    $1 == "chain" { chain = $2 }
    match($0, / comment "[0-9a-f]+" # handle [0-9]+$/) { split(substr($0, RSTART), part, "\""); if (part[2] in ours) print chain, $NF }')
  if grep -qsxF "table $family cni_hostport" /var/lib/plainkube/state/nft-tables.before; then return 0; fi
  listed=$(nft list table "$family" cni_hostport) || return
  if grep -q ' comment "[0-9a-f]*"$' <<<"$listed"; then return 0; fi
  nft delete table "$family" cni_hostport
}

# A table that has gone meanwhile is no failure.
delete_table() {
  nft delete table "$1" "$2" 2>/dev/null || ! nft list table "$1" "$2" >/dev/null 2>&1 || nft delete table "$1" "$2"
}

# remove_nftables [host-ports]: as remove_iptables.
remove_nftables() {
  local what=${1:-all} family name
  command -v nft >/dev/null || return 0
  while read -r _ family name; do
    case $what:$name in
      *:cni_hostport) remove_host_ports "$family" || return ;;
      all:plainkube | all:kube-proxy) delete_table "$family" "$name" || return ;;
    esac
  done < <(nft list tables 2>/dev/null)
}
