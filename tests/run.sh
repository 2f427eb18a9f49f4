#!/usr/bin/env bash
# Run pytest with a virtual screen where there is no screen.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${VENV:-.venv}/bin/python"
if [ -z "${DISPLAY:-}" ] && command -v xvfb-run >/dev/null; then
  exec xvfb-run --auto-servernum --server-args="-screen 0 1600x1200x24" "$python" -m pytest "$@"
fi
exec "$python" -m pytest "$@"
