"""The work of ``cryodl particles extract``."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np

from cryodl.commands.particles_extract_config import ParticlesExtractConfig
from cryodl.commands.particles_extract_job import (
    TomogramAccount,
    TomogramJob,
    earlier_account,
    missing_files,
)
from cryodl.commands.particles_extract_plan import make_plan
from cryodl.commands.particles_extract_processes import Pace, extract_tomograms
from cryodl.commands.particles_extract_report import write_report
from cryodl.commands.particles_extract_star import make_set
from cryodl.core.io.particles.read import read_particles
from cryodl.core.io.particles.write import write_particles
from cryodl.core.run.folder import RunFolder
from cryodl.errors import CryodlError, InputError

STAR = "particles.star"


def run_extract(config: ParticlesExtractConfig, run: RunFolder) -> None:
    """Cut boxes out of tomograms, write them, and check what was written.

    Parameters
    ----------
    config
        Checked parameters.
    run
        The open output folder.

    Raises
    ------
    InputError
        See `make_plan`; also when no particle is left.
    ResourceError
        A process was killed, the disk is full.
    """
    plan = make_plan(config, run.folder)
    if not plan.jobs:
        raise InputError(
            f"{config.coordinates[0]}: found no points in the tomograms given, expected some; give "
            "the files of points of these tomograms"
        )
    total = sum(len(job.points_px) for job in plan.jobs)
    first = plan.jobs[0].settings
    run.log(
        f"{total} points in {len(plan.jobs)} tomograms, boxes of {first.size_px} px, binning "
        f"{first.binning:g}, matter taken as {config.contrast}"
    )
    accounts = _extract_all(plan.jobs, config, run, total)
    for job, account in zip(plan.jobs, accounts):
        run.add_files(_names(run, [job.account_path, *job.files(account.kept)]))
    dropped = plan.dropped + sum((Counter(a.dropped) for a in accounts), Counter())
    kept = sum(len(account.kept) for account in accounts)
    for reason, count in dropped.items():
        run.log(f"{count} dropped: {reason}")
    if kept == 0:
        reason = dropped.most_common(1)[0][0]
        raise InputError(
            f"particles: none of {plan.read} points gave a box ({reason}), expected some; give "
            "other points, a smaller box or --border fill"
        )
    particles = make_set(plan, accounts, run.folder)
    write_particles(run.path(STAR), particles)
    run.add_file("star", STAR)
    _verify(plan.jobs, accounts, run.path(STAR))
    filled = sum(account.filled for account in accounts)
    values = {
        "read": plan.read,
        "kept": kept,
        "dropped": dict(dropped),
        "filled": filled,
        "box_size_px": config.box_size_px,
        "pixel_size_angstrom": accounts[0].pixel_size_angstrom,
        "tilt_range_degrees": plan.tilt_range_degrees,
        "tomograms": len(plan.jobs),
    }
    for key, value in values.items():
        run.add_value(key, value)
    run.log(f"{kept} of {plan.read} particles extracted, {filled} of them filled at the border")
    write_report(config, run, plan, accounts)


def _extract_all(
    jobs: list[TomogramJob], config: ParticlesExtractConfig, run: RunFolder, total: int
) -> list[TomogramAccount]:
    """Do what an earlier run has not done, and return the accounts of all tomograms."""
    known = [earlier_account(job) if config.resume else None for job in jobs]
    open_jobs = [job for job, account in zip(jobs, known) if account is None]
    earlier = total - sum(len(job.points_px) for job in open_jobs)
    if len(open_jobs) < len(jobs):
        run.log(f"{len(jobs) - len(open_jobs)} tomograms were finished before")
    for job in jobs:  # which boxes there will be is known in the end alone
        every = job.files(list(range(len(job.points_px))))
        run.expect_files(_names(run, [job.account_path, *every]))
    fresh = extract_tomograms(open_jobs, config.ncpus, Pace(run, earlier, total))
    found = {job.name: account for job, account in zip(open_jobs, fresh)}
    return [account or found[job.name] for job, account in zip(jobs, known)]


def _names(run: RunFolder, paths: list[Path]) -> list[str]:
    return [path.relative_to(run.folder).as_posix() for path in paths]


def _verify(jobs: list[TomogramJob], accounts: list[TomogramAccount], star: Path) -> None:
    """Look whether all that was promised is there and can be read.

    Raises
    ------
    CryodlError
        It is not: a bug of ours, or somebody removed files meanwhile.
    """
    kept = 0
    for job, account in zip(jobs, accounts):
        kept += len(account.kept)
        missing = missing_files(job, account.kept)
        if missing:
            raise CryodlError(
                f"{missing[0]}: absent or incomplete after the run, expected a box of "
                f"{job.settings.size_px} px; run again with --resume"
            )
    found = read_particles(star)
    pixel = float(found.pixel_size_angstrom[0])
    expected = accounts[0].pixel_size_angstrom
    if len(found) != kept or not math.isclose(pixel, expected, rel_tol=1e-4):
        raise CryodlError(
            f"{star}: read back {len(found)} particles of {pixel:g} A, expected {kept} of "
            f"{expected:g} A; report this bug"
        )
    if not np.isfinite(found.coordinates_px).all():
        raise CryodlError(f"{star}: read back coordinates that are not finite; report this bug")
