"""What a model costs: `python -m mmadfer_jax.cost --config=configs/dfew.py [--batch=8]`.

Parameters and FLOPs are counted by part, and for simpler models beside it; time and memory of
prediction and training are measured on the devices at hand, with random weights and clips.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.config_flag import read_config
from mmadfer_jax.costing.count import (
    baselines_section,
    compiler_section,
    device,
    parts_section,
    published_section,
)
from mmadfer_jax.costing.machine import stamp
from mmadfer_jax.costing.measure import (
    MEASURES,
    PREDICTION,
    START,
    TRAINING,
    first_answer,
    measure_step,
    measured_section,
)
from mmadfer_jax.costing.timing import program_of, random_params
from mmadfer_jax.errors import UserError, exit_on_user_error, out_of_memory_says
from mmadfer_jax.evaluation.section import Section

_NONE = "none"


def cost(
    config: ConfigDict,
    *,
    batch: int = 8,
    measures: Sequence[str] = MEASURES,
    clip: Path | None = None,
    tell: Callable[[Section], None] = lambda section: None,
) -> list[Section]:
    """Counts and measures what a config costs.

    Args:
        config: The settings; the number of classes is 7 where no data say.
        batch: Clips of a step; predictions are timed at 1, too.
        measures: What is measured, of `MEASURES`.
        clip: A video for the first answer.
        tell: Called with each part as soon as it is there.

    Raises:
        UserError: The settings cannot be meant, or there is no first answer.
    """
    program, found = program_of(config), []

    def add(section: Section) -> Section:
        found.append(section)
        tell(section)
        return section

    flops = add(parts_section(program)).results["together"]
    add(compiler_section(program))
    add(baselines_section(config))
    if measures:
        params, rows = random_params(program), []
        for one in dict.fromkeys((program.mesh.size, batch)):
            if PREDICTION in measures:
                rows.append(measure_step(program, PREDICTION, one, params, flops["forward"]))
        if TRAINING in measures:
            rows.append(measure_step(program, TRAINING, batch, params, flops["training"]))
        if START in measures:
            rows.append(first_answer(program.model, params, clip))
        add(measured_section(rows))
    add(published_section())
    return found


@exit_on_user_error
def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m mmadfer_jax.cost",
        description=__doc__,
        allow_abbrev=False,
        epilog="--config=FILE and --config.NAME=VALUE are those of main.py.",
    )
    add = parser.add_argument
    add("--batch", type=int, default=8, help="clips of a step (8)")
    add(
        "--measure",
        default=",".join(MEASURES),
        metavar="A,B",
        help=f"what is measured: {', '.join(MEASURES)}, or {_NONE}; all by default",
    )
    add("--clip", type=Path, metavar="VIDEO", help="for the first answer; face crops if not given")
    add("--out", type=files.as_path, metavar="DIR", help="where cost.md and cost.json go")
    flags, rest = parser.parse_known_args()
    measures = () if flags.measure == _NONE else tuple(flags.measure.split(","))
    if unknown := sorted(set(measures) - set(MEASURES)):
        raise UserError(
            f"--measure={flags.measure}: {unknown[0]!r} is none of {', '.join(MEASURES)}, {_NONE}"
        )
    if flags.batch < 1:
        raise UserError(f"--batch={flags.batch}; expected 1 or more")
    if flags.clip and not flags.clip.exists():
        raise UserError(f"no such file: {flags.clip}")
    config, told = read_config(rest), []
    about = {**stamp("jax", "jaxlib", "flax", "numpy"), "device": device()}
    about["command"] = shlex.join(["python", "-m", "mmadfer_jax.cost", *sys.argv[1:]])

    def tell(section: Section) -> None:
        told.append(f"## {section.title}\n\n{section.text}\n")
        print(told[-1], flush=True)

    with out_of_memory_says("lower --batch"):
        found = cost(config, batch=flags.batch, measures=measures, clip=flags.clip, tell=tell)
    if flags.out:
        _write(flags.out, about, found, told)


def _write(
    folder: Path | UPath, about: dict[str, Any], found: Sequence[Section], told: Sequence[str]
) -> None:
    files.make_folder(folder)
    cpu = f"{about['cores']} cores of {about['cpu']}"
    head = (
        f"# What it costs\n\n`{about['command']}`, {about['date']}, on {about['device']}, {cpu}.\n"
    )
    files.write(folder / "cost.md", "\n".join([head, *told]))
    results = {section.name: section.results for section in found}
    text = json.dumps(about | results, indent=2, ensure_ascii=False, allow_nan=False)
    files.write(folder / "cost.json", text + "\n")


if __name__ == "__main__":
    main()
