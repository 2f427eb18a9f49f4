#!/usr/bin/env bash
# Make the pictures of the documentation from the project's own sample data.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tests/apt.sh chromium fonts-dejavu-core
python="${VENV:-.venv}/bin/python"
out=docs/images
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
xvfb-run --auto-servernum --server-args="-screen 0 1600x1200x24" \
  "$python" docs/screenshots.py "$work"
for picture in "$work"/*.png; do
  cp "$picture" "$out/plugin-$(basename "$picture")"
done
"$python" -m napari_medxai.batch sample_data/brain --slices middle --out "$work/report" --quiet
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars \
  --user-data-dir="$work/browser" --window-size=1280,1500 \
  --screenshot="$out/report.png" "file://$work/report/report.html" 2>/dev/null
