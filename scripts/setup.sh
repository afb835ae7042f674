#!/usr/bin/env bash
# Set up everything from nothing; do nothing, in a moment, when all is there.
#
#   setup.sh run     what running needs: a Python with Tk, .venv with engine, plugin and Scipion
#   setup.sh test    that, and what the tests need: RELION, a virtual screen, screenshots
#
# CRYODL_VENV=DIR            another place for the environment (default .venv)
# CRYODL_SETUP_PYTHON=FILE   the Python to make it with
# CRYODL_SKIP_SYSTEM=1       do not look for system packages
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-run}
venv=$(realpath -m "${CRYODL_VENV:-.venv}")
stamp="$venv/.cryodl_setup"
tools=(ruff mypy scipion-app)
packages=(fonts-dejavu-core fonts-urw-base35 openmpi-bin)
if [ "$purpose" = test ]; then
    packages+=(relion xvfb imagemagick xdotool
        libxcb-icccm4 libxcb-keysyms1 libxcb-xinerama0 libxkbcommon-x11-0)
fi

wanted() { # what the environment is made from; it is renewed when this changes
    echo "$PWD $venv"
    cat constraints.txt setup.py engine/pyproject.toml scripts/setup.sh | sha256sum
}
ready() { [ -x "$venv/bin/cryodl" ] && [ -x "$venv/bin/python" ]; }

python=""
if ! ready; then
    python=$(scripts/find_python.sh)
    # Debian's tkinter serves Debian's Python only, so it is asked for only when it will help.
    system='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'
    if [ -z "$python" ] && { [ ! -x /usr/bin/python3 ] || /usr/bin/python3 -c "$system"; }; then
        packages+=(python3 python3-venv python3-tk)
    fi
fi
scripts/system_packages.sh "${packages[@]}"

if ready && [ "$(wanted)" = "$(cat "$stamp" 2>/dev/null)" ]; then
    exit 0
fi

place="$PWD $venv"
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 \
    || [ "$(head -n 1 "$stamp" 2>/dev/null || echo "$place")" != "$place" ]; then
    # Absent, half made, or moved (its scripts hold absolute paths): make it anew.
    python=${python:-$(scripts/find_python.sh)}
    if [ -z "$python" ]; then
        echo "No Python 3.10, 3.11 or 3.12 with tkinter and venv here (Scipion runs on no other)." >&2
        echo "Install one, for example python 3.11 with conda, uv or pyenv, then:" >&2
        echo "    CRYODL_SETUP_PYTHON=/path/to/python3.11 make setup" >&2
        exit 1
    fi
    if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ]; then
        echo "$venv: found something that is no Python environment; move it, or set CRYODL_VENV." >&2
        exit 1
    fi
    echo "Making $venv with $python"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi

echo "Installing into $venv; the first time takes some minutes."
pip=("$venv/bin/python" -m pip install -qq --disable-pip-version-check -c constraints.txt)
rm -f "$stamp"
"${pip[@]}" --upgrade pip setuptools wheel
"${pip[@]}" -e "engine[test]" -e . "${tools[@]}"
"$venv/bin/python" -m pip check
wanted >"$stamp"
echo "Ready. $venv/bin/cryodl doctor shows what is here."
