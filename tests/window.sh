#!/usr/bin/env bash
# Install what a window needs on Debian and Ubuntu. Where that cannot be done, name
# what is missing and go on: the window tests are then skipped, visibly.
set -uo pipefail
packages=(
  xvfb xauth libegl1 libgl1 libgl1-mesa-dri libxkbcommon-x11-0 libxcb-cursor0
  libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcb-xinerama0
  libdbus-1-3 libfontconfig1
)
if ! command -v dpkg-query >/dev/null; then
  command -v xvfb-run >/dev/null || echo "window tests: no dpkg here; install xvfb and Mesa yourself, or run with a display"
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    echo "window tests: not root and no sudo; missing: ${missing[*]}"
    exit 0
  fi
fi
install() {
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
"${as_root[@]}" apt-get update -qq && install ||
  echo "window tests: apt-get failed; missing: ${missing[*]}"
exit 0
