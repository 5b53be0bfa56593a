# shellcheck shell=bash
# What up.sh and join.sh begin with: their arguments, which it takes for them, and their functions. They set: here.
: "${here:?}"
work=$1
shift
api=${1#*=}
run=$work/run out=$work/run/hosts ca=$work/run/authorities
# shellcheck source=bench/script/pki.sh
. "$here/pki.sh"
# shellcheck source=bench/script/send.sh
. "$here/send.sh"
