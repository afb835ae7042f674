#!/usr/bin/env bash
# Make sure that the named Debian/Ubuntu packages are there: install what is missing when we may,
# otherwise print the exact command and stop.
#
#   system_packages.sh PACKAGE...
#
# CRYODL_SKIP_SYSTEM=1 goes on without (for machines without apt, where you bring the programs).
set -euo pipefail

[ "${CRYODL_SKIP_SYSTEM:-0}" = 1 ] && exit 0

missing=()
if command -v dpkg-query >/dev/null; then
    # One call for all names: a package that was removed but left its settings is missing too.
    installed=" $(dpkg-query -W -f '${db:Status-Status}:${Package} ' "$@" 2>/dev/null || true)"
    for package in "$@"; do
        case "$installed" in *" installed:$package "*) ;; *) missing+=("$package") ;; esac
    done
else
    missing=("$@")
fi
[ "${#missing[@]}" -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "This machine has no apt-get. Install what these Debian packages hold, in your system's way:" >&2
    echo "    ${missing[*]}" >&2
    echo "then go on with CRYODL_SKIP_SYSTEM=1 (for example: CRYODL_SKIP_SYSTEM=1 make demo)." >&2
    exit 1
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=(env)
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo env)
else
    echo "These system packages are missing, and installing them needs your administrator's rights." >&2
    echo "Please run this, then the same make command again:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

echo "Installing system packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install=("${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300)
if ! { "${install[@]}" update && "${install[@]}" install -y --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "apt-get failed; mend what it says above, then run the same make command again." >&2
    exit 1
fi
