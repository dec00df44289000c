#!/usr/bin/env bash
# Installs a wheel into an empty environment, with the versions of the lock file, and asks the server that it has.
set -euo pipefail
wheel=$(realpath "$1"); lock=$(dirname "$wheel")/requirements.lock
room=$(mktemp -d); trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$room"' EXIT
cd "$room"
started=$(date +%s)
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check -c "$lock" "$wheel"
echo "installed in $(($(date +%s) - started)) s, $(du -sm venv | cut -f1) MB"
venv/bin/roster version
ROSTER_LOG_FORMAT=json venv/bin/roster serve --port 0 > log &
server=$!
for _ in $(seq 100); do url=$(sed -n 's/.*"api": "\([^"]*\)".*"event": "serving".*/\1/p' log); [ -n "$url" ] && break; sleep 0.2; done
ask() { venv/bin/python -c 'import sys, urllib.request as u; print(u.urlopen(u.Request(sys.argv[1], sys.argv[2].encode() if sys.argv[2:] else None, {"content-type": "application/json"})).read().decode())' "$@"; }
test "$(ask "$url/users/" '{"name":"Alice"}')" = '{"id":1,"name":"Alice"}'
test "$(ask "$url/users/")" = '[{"id":1,"name":"Alice"}]'
ask "$url/docs" | grep -q swagger
kill "$server"; wait "$server"
echo "the wheel serves"
