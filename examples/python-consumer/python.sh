#!/bin/sh
# Python with the dependencies of requirements.txt, in a virtual environment beside this file:  ./python.sh -m points
# It is made when it is missing or older than requirements.txt.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=$here/.venv
stamp=$venv/.requirements.txt

if ! cmp -s "$here/requirements.txt" "$stamp"; then
  python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo 'This example needs Python 3.11 or later with venv: on Debian and Ubuntu, apt-get install python3-venv' >&2
    exit 3
  }
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.txt" >&2
  cp "$here/requirements.txt" "$stamp"
fi
exec "$venv/bin/python" "$@"
