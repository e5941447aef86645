#!/usr/bin/env bash
# Installs the pinned witnesses (requirements.txt) into a venv under target/, and says where it is. The second time it
# does nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv="${1:-target/witness/venv}"
pins=tests/witness/requirements.txt
python="${PYTHON:-python3}"
command -v "$python" >/dev/null || { echo "$python is missing: the witnesses need Python 3.10 or newer" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  { echo "$("$python" --version) is too old: the witnesses need Python 3.10 or newer" >&2; exit 1; }
if cmp -s "$pins" "$venv/installed.txt" && "$venv/bin/python" -c '' 2>/dev/null; then
  exit 0
fi
echo "Installing the witnesses (moto, ministack, boto3, astrapy, singlestoredb) into $venv: about a minute, this time only." >&2
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$pins"
cp "$pins" "$venv/installed.txt"
