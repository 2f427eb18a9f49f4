#!/usr/bin/env bash
# Install the Debian packages named, as root or through sudo. Where that cannot be
# done, name what is missing and end with 1.
set -uo pipefail
if ! command -v dpkg-query >/dev/null; then
  echo "no Debian here; these packages' contents are needed: $*"
  exit 1
fi
missing=()
for package in "$@"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" ||
    missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
    echo "not root and no sudo without a password; missing: ${missing[*]}"
    exit 1
  fi
  as_root=(sudo -n)
fi
"${as_root[@]}" apt-get update -qq &&
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends "${missing[@]}" >/dev/null && exit 0
echo "apt-get failed; missing: ${missing[*]}"
exit 1
