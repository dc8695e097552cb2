"""Trains arms that differ in settings, and compares them.

    python -m mmadfer_jax.study configs/studies/parts.py --workdir=runs/parts [--config.x=y ...]

Arms x folds x seeds, each run in a process of its own, one after the other. Finished runs are
skipped, so the same command goes on. Several machines may give it on one folder.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmadfer_jax.config_flag import read_config
from mmadfer_jax.errors import UserError, exit_on_user_error


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _parser() -> argparse.ArgumentParser:
    from mmadfer_jax.studies.command import add_flags

    parser = argparse.ArgumentParser(
        prog="python -m mmadfer_jax.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="--config=FILE replaces the study's config; --config.NAME=VALUE is for all arms.",
    )
    add = parser.add_argument
    add("study", type=Path, help="a file with get_study(), such as those of configs/studies")
    add_flags(parser, "arms")
    add("--run", metavar="NAME", help="the one run to train, as --list names it")
    add("--folds", type=_numbers, metavar="1,2", help="in place of the study's")
    add("--seeds", type=_numbers, metavar="0,1", help="in place of the study's")
    return parser


@exit_on_user_error
def main() -> None:
    """The command."""
    flags, rest = _parser().parse_known_args()
    from mmadfer_jax.studies.command import carry_out, list_commands, open_folder, whole_command
    from mmadfer_jax.studies.plan import load_study, plan_study
    from mmadfer_jax.studies.study_report import write_study_report
    from mmadfer_jax.studies.summary import study_results

    folder, study = open_folder(flags), load_study(flags.study)
    given = {name: value for name in ("folds", "seeds") if (value := getattr(flags, name))}
    study = dataclasses.replace(study, **given)
    plan = plan_study(study, read_config(rest, study.config))
    wanted = _wanted(plan.runs, flags)
    if flags.list:
        list_commands("study", sys.argv[1:], [f"--run={run.name}" for run in wanted])
        return
    command = whole_command("study", sys.argv[1:])

    def write(report: Path, outcomes: Sequence, why_open: Mapping[str, str]) -> None:
        results = study_results(study, plan.classes, outcomes, why_open)
        write_study_report(report, results, command)

    carry_out(folder, plan.runs, wanted, flags, write)


def _wanted(runs: Sequence, flags: argparse.Namespace) -> list:
    """The runs that the flags select."""
    wanted = list(runs)
    if flags.only:
        names = [name.strip() for name in flags.only.split(",")]
        arms = list(dict.fromkeys(run.arm for run in runs))
        if unknown := [name for name in names if name not in arms]:
            raise UserError(f"--only: no arm {unknown[0]!r}; the study has {', '.join(arms)}")
        wanted = [run for run in wanted if run.arm in names]
    if flags.run:
        wanted = [run for run in wanted if run.name == flags.run]
        if not wanted:
            raise UserError(f"--run: no run {flags.run!r}; --list lists all")
    return wanted


if __name__ == "__main__":
    main()
