#!/usr/bin/env bash
# Runs a TypeScript file of this project: installs the locked dependencies first (with them a Node that fits) if they
# are not those of the lock file. Usage: bash lab/run.sh FILE [ARGUMENT…]
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cmp -s package-lock.json node_modules/.plainkube-lock; then
  echo "installing dependencies from package-lock.json" >&2
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  cp package-lock.json node_modules/.plainkube-lock
fi
# A lab's env file is for pulumi and kubectl by hand. Each command here knows its own stack, which may be another.
for name in ${PLAINKUBE_SOURCED:-}; do unset "$name"; done
PATH="$PWD/node_modules/.bin:$PATH"
exec node "$@"
