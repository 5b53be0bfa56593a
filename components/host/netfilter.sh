# shellcheck shell=bash
# Takes away what plainkube, and what it runs, puts into netfilter; chains, rules and tables are known by their names.
# Part of reset.sh, and sourced by prepare-network.sh.

# One transaction a table.
remove_iptables() {
  local family table rules
  for family in iptables ip6tables; do
    command -v "$family-save" >/dev/null || continue
    for table in $("$family-save" 2>/dev/null | sed -n 's/^\*//p'); do
      rules=$("$family-save" -t "$table" 2>/dev/null | awk '
        function mine(chain) { return chain ~ /^(KUBE-|CNI-(DN-|HOSTPORT-|SN-))/ }
        /^\*/ { print; next }
        /^:/ { chain = substr($1, 2); if (mine(chain)) { print ":" chain " - [0:0]"; drop[++n] = chain } next }
        /^-A/ && !mine($2) && (/ -[jg] (KUBE-|CNI-HOSTPORT-)/ || /--comment "?plainkube/) { sub(/^-A/, "-D"); print; found = 1; next }
        /^COMMIT/ { for (i = 1; i <= n; i++) print "-X " drop[i]; print; if (n || found) exit }')
      case $rules in *-D\ * | *-X\ *) "$family-restore" --noflush --wait 10 <<<"$rules" || return ;; esac
    done
  done
}

# The table of portmap may be another's, too: then it was there before us.
remove_nftables() {
  local family name
  command -v nft >/dev/null || return 0
  while read -r _ family name; do
    case $name in
      plainkube | kube-proxy) ;;
      cni_hostport) if grep -qxF "table $family $name" /var/lib/plainkube/state/nft-tables.before; then continue; fi ;;
      *) continue ;;
    esac
    nft delete table "$family" "$name" || return
  done < <(nft list tables 2>/dev/null)
}
