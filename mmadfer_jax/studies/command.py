"""What the commands `folds` and `study` share: their flags, and how they go about the runs."""

import argparse
import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax

from mmadfer_jax import files
from mmadfer_jax.errors import UserError
from mmadfer_jax.studies.lease import STALE_AFTER
from mmadfer_jax.studies.outcome import FINISHED, Outcome, look
from mmadfer_jax.studies.plan import Run
from mmadfer_jax.studies.work import Stopped, Work, holder, leases
from mmadfer_jax.training.log import console
from mmadfer_jax.training.processes import PREEMPTED

REPORT = "report"
_LEAST_STALE = 60.0  # seconds
_SWITCHES, _SELECTIONS = ("--list", "--report"), ("--only", "--run", "--jobs")
_POLL = 0.2  # seconds
# Writes a report into a folder, of all outcomes, and of why runs are open.
Report = Callable[[Path, Sequence[Outcome], Mapping[str, str]], None]


def add_flags(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds the flags that both commands have.

    Args:
        parser: Of the command.
        what: "folds" or "arms", of which `--only` takes some.
    """
    add = parser.add_argument
    add("--workdir", required=True, metavar="DIR", help="of the runs and the report")
    add("--only", metavar="A,B", help=f"{what} to train; the others are left to other commands")
    add("--jobs", type=int, default=1, metavar="N", help="runs that train at once here (1)")
    add("--list", action="store_true", help="print a command for each run, train nothing")
    add("--report", action="store_true", help="write the report of what is there, train nothing")
    add(
        "--stale_after",
        type=float,
        default=STALE_AFTER,
        metavar="SECONDS",
        help="without a sign of life until a run of another machine is taken over (%(default)g)",
    )


def open_folder(flags: argparse.Namespace) -> Path:
    """The work directory, on a disk.

    Raises:
        UserError: It is a URL or a file, or a flag has a bad value.
    """
    if flags.jobs < 1:
        raise UserError(f"--jobs={flags.jobs}; expected 1 or more")
    if flags.stale_after < _LEAST_STALE:
        raise UserError(
            f"--stale_after={flags.stale_after:g}; expected {_LEAST_STALE:g} or more: a run may "
            "still save its state when its command was killed"
        )
    folder = files.as_path(flags.workdir)
    if files.is_remote(folder):
        raise UserError(
            f"--workdir={folder}: folds and studies lie on a disk, which several machines may "
            "share; main.py trains a single run into a bucket"
        )
    if folder.is_file():
        raise UserError(f"--workdir={folder} is a file; give a folder")
    return folder


def list_commands(module: str, arguments: Sequence[str], selections: Sequence[str]) -> None:
    """Prints a command for each run, in an order that does not depend on what is finished.

    Args:
        module: Of the command.
        arguments: Those it was called with.
        selections: The flag of each run that selects it alone.
    """
    command = whole_command(module, arguments)
    for selection in selections:
        print(f"{command} {shlex.quote(selection)}")


def whole_command(module: str, arguments: Sequence[str]) -> str:
    """The command that does all of it: as it was called, without what selects a part.

    Args:
        module: Of the command.
        arguments: Those it was called with.
    """
    kept, skip = [], False
    for argument in arguments:
        if skip or argument.split("=", 1)[0] in (*_SWITCHES, *_SELECTIONS):
            skip = not skip and argument in _SELECTIONS  # its value stands apart
            continue
        kept.append(argument)
    return shlex.join(["python", "-m", f"mmadfer_jax.{module}", *kept])


def carry_out(
    folder: Path,
    runs: Sequence[Run],
    wanted: Sequence[Run],
    flags: argparse.Namespace,
    write: Report,
) -> None:
    """Trains the wanted runs, writes the report of all, and exits with 1 where a run failed.

    Args:
        folder: Of the study.
        runs: All of it.
        wanted: Those that this command may train.
        flags: The command's.
        write: Writes the report.
    """
    # Parents compute nothing; they only count. Devices are for the processes that train.
    jax.config.update("jax_platforms", "cpu")
    if flags.report and not folder.is_dir():
        raise UserError(f"--workdir={folder}: no such folder")
    if not flags.report:
        try:
            Work(folder, wanted, stale_after=flags.stale_after).train(flags.jobs)
        except Stopped as stopped:
            print(f"stopped: {stopped}", file=sys.stderr)
            sys.exit(PREEMPTED)
    with _reporting(folder, flags.stale_after):
        outcomes = [look(run, folder / run.name) for run in runs]
        done = {found.run.name for found in outcomes if found.state == FINISHED}
        others = [run for run in runs if run.name not in done]
        held = {run.name: who for run in others if (who := holder(folder, run))}
        print(f"{len(done)} of {len(runs)} runs are finished")
        for name, who in held.items():
            console().print(f"{name}: is held by {who}")
        if done:
            write(
                folder / REPORT, outcomes, {name: f"is held by {who}" for name, who in held.items()}
            )
            print(f"report: {folder / REPORT}")
    if not flags.report and {run.name for run in wanted} - done - held.keys():
        sys.exit(1)


@contextlib.contextmanager
def _reporting(folder: Path, stale_after: float) -> Iterator[None]:
    """Keeps commands from reporting at once, so that the last report is of what is there last."""
    names = leases(folder, stale_after)
    while (lease := names.take(REPORT)) is None:
        time.sleep(_POLL)
    try:
        yield
    finally:
        lease.release()
