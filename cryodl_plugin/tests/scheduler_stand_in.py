"""A scheduler for tests: ``sbatch``, ``squeue`` and ``scancel`` that run jobs on this computer.

They obey what SLURM promises of them as far as Scipion uses it: ``sbatch`` reads the ``#SBATCH``
lines, keeps the submitter's environment and returns at once with a number; a job waits a moment,
runs in a session of its own and writes to its log files; ``squeue`` tells the state of those that
have not ended; ``scancel`` ends a job and all that it started.
"""

import os
import stat

_SBATCH = """#!/bin/bash
# One job: a folder with its script, its session and its state.
jobs={jobs}
number=100
while ! mkdir "$jobs/$number" 2>/dev/null; do number=$((number + 1)); done
job="$jobs/$number"
cp "$1" "$job/script"
refuse() {{ rm -r "$job"; echo "sbatch: error: $1" >&2; exit 1; }}
option() {{ sed -n "s/^ *#SBATCH --$1=//p" "$job/script" | head -n 1; }}
for needed in job-name partition output error ntasks cpus-per-task mem time gres; do
    [ -n "$(option $needed)" ] || refuse "no --$needed"
done
[ "$(option partition)" = closed ] && refuse "invalid partition specified: closed"
echo PD >"$job/state"
export SLURM_JOB_ID=$number SLURM_SUBMIT_DIR="$PWD"
setsid bash -c '
    echo $$ >"$0/session"
    sleep 0.3
    echo R >"$0/state"
    bash "$0/script" >"$1" 2>"$2"
    echo "$?" >"$0/status"
    echo CD >"$0/state"
' "$job" "$(option output)" "$(option error)" </dev/null >/dev/null 2>&1 &
echo "Submitted batch job $number"
"""
_SQUEUE = """#!/bin/bash
for word in "$@"; do case "$word" in --jobs=*) number=${{word#--jobs=}} ;; esac; done
job={jobs}/$number
[ -d "$job" ] || {{ echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }}
state=$(cat "$job/state")
case "$state" in PD | R) echo "$number $state" ;; esac
"""
_SCANCEL = """#!/bin/bash
job={jobs}/$1
[ -d "$job" ] || {{ echo "scancel: error: Invalid job id $1" >&2; exit 1; }}
while [ ! -s "$job/session" ]; do sleep 0.05; done
kill -TERM -- "-$(cat "$job/session")"
echo CA >"$job/state"
"""


def install(folder):
    """Write the three programs; return the folder that is to come first in ``PATH``."""
    programs, jobs = (os.path.join(folder, name) for name in ("programs", "jobs"))
    for made in (programs, jobs):
        os.makedirs(made)
    for name, text in (("sbatch", _SBATCH), ("squeue", _SQUEUE), ("scancel", _SCANCEL)):
        path = os.path.join(programs, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.format(jobs=jobs))
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    return programs


def states(folder):
    """Return the state of each job by its number, in the order of submission."""
    jobs = os.path.join(folder, "jobs")
    found = {}
    for number in sorted(os.listdir(jobs), key=int):
        with open(os.path.join(jobs, number, "state"), encoding="utf-8") as file:
            found[int(number)] = file.read().strip()
    return found


def script(folder, number):
    """Return the text of a job."""
    with open(os.path.join(folder, "jobs", str(number), "script"), encoding="utf-8") as file:
        return file.read()


def processes(folder, number):
    """Return the processes of a job's session that are still there."""
    with open(os.path.join(folder, "jobs", str(number), "session"), encoding="utf-8") as file:
        session = int(file.read())
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                words = file.read().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(words[3]) == session and words[0] != "Z":
            found.append(int(name))
    return found
