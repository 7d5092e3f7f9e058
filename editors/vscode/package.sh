#!/usr/bin/env bash
# Makes tapefix-VERSION.vsix in this folder. Needs Node 20 or newer, and the network for the tools.
set -euo pipefail
cd "$(dirname "$0")"

npm install --no-audit --no-fund --silent
npx esbuild extension.js --bundle --minify --platform=node --external:vscode --outfile=dist/extension.js
cp ../../LICENSE LICENSE
npx vsce package --no-dependencies --allow-missing-repository
