#!/usr/bin/env bash
# Install the engine alone, with the newest of everything, and run its quick core tests.
#
# torch is the exception: its newest build brings several GB for GPUs, so that the version of
# constraints.txt is taken. CRYODL_NEWEST_TORCH=torch takes the newest all the same.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$(realpath -m "${CRYODL_NEWEST_VENV:-.venv-newest}")
python=$(scripts/find_python.sh)
torch=${CRYODL_NEWEST_TORCH:-$(grep '^torch==' constraints.txt)}

if [ ! -x "$venv/bin/python" ]; then
    rm -rf "$venv"
    "${python:-python3}" -m venv "$venv"
fi
pip=("$venv/bin/python" -m pip install -qq --disable-pip-version-check --upgrade)
"${pip[@]}" pip
"${pip[@]}" --upgrade-strategy eager -e "engine[test]" "$torch"
"$venv/bin/python" -m pip list --disable-pip-version-check \
    | grep -iE '^(torch|numpy|scipy|mrcfile|pandas|pydantic|lightning-fabric) '
"$venv/bin/cryodl" doctor
OMP_NUM_THREADS=1 "$venv/bin/python" -m pytest -n "${WORKERS:-2}" --dist loadfile \
    -m "not slow and not gpu and not relion and not gui" engine/tests/core engine/tests/test_command_line.py
