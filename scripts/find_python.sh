#!/usr/bin/env bash
# Print a Python 3.10-3.12 that has venv and tkinter (3.11 first); print nothing when there is none.
# CRYODL_SETUP_PYTHON names one to take instead.
set -uo pipefail

usable() {
    "$1" -c 'import sys, venv, ensurepip, tkinter
sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1
}

if [ -n "${CRYODL_SETUP_PYTHON:-}" ]; then
    usable "$CRYODL_SETUP_PYTHON" && "$CRYODL_SETUP_PYTHON" -c 'import sys; print(sys.executable)'
    exit 0
fi

for version in 3.11 3.12 3.10; do
    # The system's own Python first: its Tk comes with fonts and gets security updates.
    for python in "/usr/bin/python$version" "python$version" "$HOME/.pyenv/versions/$version".*/bin/python; do
        if usable "$python"; then
            "$python" -c 'import sys; print(sys.executable)'
            exit 0
        fi
    done
done
for python in python3 python; do
    if usable "$python"; then
        "$python" -c 'import sys; print(sys.executable)'
        exit 0
    fi
done
