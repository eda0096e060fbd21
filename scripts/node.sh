#!/bin/sh
# Ensures a Node.js that runs TypeScript without a build. Uses the machine's own if it is at least the version in .nvmrc;
# otherwise installs that version from npm into .tools/node, for this checkout only. Prints nothing to stdout.
set -eu
cd "$(dirname "$0")/.."
wanted=$(cat .nvmrc)

major() {
  "$1" -p 'parseInt(process.versions.node, 10)' 2>/dev/null || echo 0
}

log() {
  echo "$@" >&2
}

if [ "$(major .tools/node/bin/node)" -ge "$wanted" ] || [ "$(major node)" -ge "$wanted" ]; then
  exit 0
fi

if ! command -v npm >/dev/null 2>&1 || [ "$(major node)" -lt 20 ]; then
  log "Warren needs Node.js 20 or newer and npm on the PATH: install them and try again."
  exit 1
fi

# The package `node` only has an install script, which newer npm does not run, that fetches this package.
package=$(node -p '`${process.platform === "darwin" && process.arch === "arm64" ? "node-bin" : "node"}-${process.platform}-${process.arch}`')
stage=.tools/node.$$
trap 'rm -rf "$stage"' EXIT
trap 'exit 130' INT TERM
log "node: this machine has $(node -v); fetching Node.js $wanted from npm into .tools/node (about 50 MB) ..."
mkdir -p "$stage/bin"
if ! npm install --prefix "$stage" --no-save --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error \
  "$package@$wanted" >"$stage/npm.log" 2>&1; then
  cat "$stage/npm.log" >&2
  log "cannot fetch Node.js $wanted: install it yourself (see .nvmrc) and try again."
  exit 1
fi
mv "$stage/node_modules/$package/bin/node" "$stage/bin/node"
rm -rf "$stage/node_modules" "$stage/npm.log"
if [ "$(major "$stage/bin/node")" -lt "$wanted" ]; then
  log "The npm package $package does not run on this machine: install Node.js $wanted yourself and try again."
  exit 1
fi
rm -rf .tools/node
mv "$stage" .tools/node
log "node: $(.tools/node/bin/node -v) is in .tools/node"
