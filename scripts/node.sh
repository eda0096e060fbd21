#!/bin/sh
# Makes sure of a Node.js that runs TypeScript as it stands. The machine's own serves when it is at least the version
# of .nvmrc; else that version comes from npm into .tools/node, for this checkout alone. Nothing goes to stdout.
set -eu
cd "$(dirname "$0")/.."
wanted=$(cat .nvmrc)

major() {
  "$1" -p 'parseInt(process.versions.node, 10)' 2>/dev/null || echo 0
}

say() {
  echo "$@" >&2
}

if [ "$(major .tools/node/bin/node)" -ge "$wanted" ] || [ "$(major node)" -ge "$wanted" ]; then
  exit 0
fi

if ! command -v npm >/dev/null 2>&1 || [ "$(major node)" -lt 20 ]; then
  say "Warren needs Node.js 20 or newer with npm on the PATH to begin with; install them and try again."
  exit 1
fi

# The package `node` holds no more than an install script, which newer npm does not run, that fetches this one.
package=$(node -p '`${process.platform === "darwin" && process.arch === "arm64" ? "node-bin" : "node"}-${process.platform}-${process.arch}`')
stage=.tools/node.$$
trap 'rm -rf "$stage"' EXIT
trap 'exit 130' INT TERM
say "node: this machine has $(node -v); fetching Node.js $wanted from npm into .tools/node (about 50 MB) ..."
mkdir -p "$stage/bin"
if ! npm install --prefix "$stage" --no-save --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error \
  "$package@$wanted" >"$stage/npm.log" 2>&1; then
  cat "$stage/npm.log" >&2
  say "Node.js $wanted could not be fetched: install it yourself (see .nvmrc) and try again."
  exit 1
fi
mv "$stage/node_modules/$package/bin/node" "$stage/bin/node"
rm -rf "$stage/node_modules" "$stage/npm.log"
if [ "$(major "$stage/bin/node")" -lt "$wanted" ]; then
  say "The npm package $package does not run on this machine: install Node.js $wanted yourself and try again."
  exit 1
fi
rm -rf .tools/node
mv "$stage" .tools/node
say "node: $(.tools/node/bin/node -v) is in .tools/node"
