"""Trains and tests all folds of a dataset, and reports them together.

    python -m mmadfer_jax.folds --config=configs/dfew.py --workdir=runs/dfew [--config.x=y ...]

Each fold trains in a process of its own, one after the other. Finished folds are skipped, so the
same command goes on. Several machines may give it on one folder.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmadfer_jax.config_flag import read_config
from mmadfer_jax.errors import UserError, exit_on_user_error


def _parser() -> argparse.ArgumentParser:
    from mmadfer_jax.studies.command import add_flags

    parser = argparse.ArgumentParser(
        prog="python -m mmadfer_jax.folds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="--config=FILE and --config.NAME=VALUE are those of main.py.",
    )
    add_flags(parser, "folds")
    return parser


@exit_on_user_error
def main() -> None:
    """The command."""
    flags, rest = _parser().parse_known_args()
    from mmadfer_jax.studies.command import carry_out, list_commands, open_folder, whole_command
    from mmadfer_jax.studies.folds_report import folds_results, write_folds_report
    from mmadfer_jax.studies.plan import plan_folds

    folder, plan = open_folder(flags), plan_folds(read_config(rest))
    wanted = _wanted(plan.runs, flags.only)
    if flags.list:
        list_commands("folds", sys.argv[1:], [f"--only={run.fold}" for run in wanted])
        return
    command = whole_command("folds", sys.argv[1:])

    def write(report: Path, outcomes: Sequence, why_open: Mapping[str, str]) -> None:
        results = folds_results(plan.dataset, plan.classes, outcomes, why_open)
        write_folds_report(report, results, command)

    carry_out(folder, plan.runs, wanted, flags, write)


def _wanted(runs: Sequence, only: str | None) -> list:
    """The runs of the folds that `--only` names."""
    if only is None:
        return list(runs)
    known = {str(run.fold): run for run in runs}
    names = [name.strip() for name in only.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"--only={only}: no fold {unknown[0]!r}; there are {', '.join(known)}")
    return [run for name, run in known.items() if name in names]


if __name__ == "__main__":
    main()
