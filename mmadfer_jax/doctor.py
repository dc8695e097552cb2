"""Says whether prepared data can be trusted: `python -m mmadfer_jax.doctor MODEL --data=DIR`.

A model whose figures are known is evaluated on them. Where it does worse than it should, what may
have gone wrong is undone on the clips at hand, one thing after another, and the likeliest cause is
named.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.data.splits import fold_splits
from mmadfer_jax.diagnosis.diagnose import diagnose, spread_over_classes
from mmadfer_jax.diagnosis.expected import Expected, expected_of
from mmadfer_jax.diagnosis.verdict import TRUSTED
from mmadfer_jax.errors import UserError, exit_on_user_error, out_of_memory_says
from mmadfer_jax.evaluation.examination import Examination
from mmadfer_jax.trained import TrainedModel, load_model

_NOT_TRUSTED = 3  # exit code


def examine(
    model: TrainedModel,
    source: RecordSource,
    *,
    expected: Expected | None = None,
    clips: int = 200,
    sample: bool = False,
    always: bool = False,
    batch_size: int = 16,
    num_workers: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Evaluates a model on clips and says whether they are prepared as they should be.

    Args:
        model: A released checkpoint, or a model that was trained here.
        source: The clips.
        expected: What it should reach; by default what is known of it.
        clips: On how many clips mistakes are looked for.
        sample: Whether the model is judged by these clips too, in place of all.
        always: Whether mistakes are looked for although all is well.
        batch_size: Clips of a batch.
        num_workers: Processes that read and decode; 0 does it in threads of this one.
        tell: Called with each finding in Markdown, as soon as it is there.

    Returns:
        The findings by name: "data", "measured", "verdict", and "tried" and "folds" where these
        were needed.

    Raises:
        UserError: The classes of data and model differ, or a record is corrupt.
    """
    expected = expected or expected_of(model.card, source.info, source)
    if sample:
        source = source.only(spread_over_classes(source.labels, clips))
    examination = Examination(model, source, batch_size=batch_size, num_workers=num_workers)
    for note in examination.notes:
        tell(f"note: {note}\n")
    found = {"model": model.path, "dir": str(source.directory), "splits": list(source.splits)}
    for section in diagnose(examination, expected, clips=clips, always=always):
        tell(f"{section.title}\n\n{section.text}\n")
        found[section.name] = section.results
    return found


@exit_on_user_error
def main() -> None:
    """The command; its exit code is 3 where the data cannot be trusted."""
    parser = argparse.ArgumentParser(prog="python -m mmadfer_jax.doctor", description=__doc__)
    add = parser.add_argument
    add("model", type=files.as_path, help="a released checkpoint, or any model trained here")
    add("--data", required=True, metavar="DIR", help="a prepared dataset")
    add("--fold", type=int, default=1, help="whose test part is taken, in five-fold sets (1)")
    add("--split", action="append", metavar="NAME", help="a split to take instead; repeatable")
    add("--expect", metavar="UAR/WAR", help="what the model should reach, in percent")
    add("--clips", type=int, default=200, help="on how many mistakes are looked for (200)")
    add("--sample", action="store_true", help="judge by these clips alone, which is faster")
    add("--always", action="store_true", help="look for mistakes although all is well")
    add("--batch_size", type=int, default=16, help="clips of a batch (16)")
    add("--num_workers", type=int, default=0, help="processes that read clips (threads)")
    add("--out", type=files.as_path, metavar="DIR", help="where doctor.md and doctor.json go")
    flags = parser.parse_args()
    if min(flags.batch_size, flags.clips) < 1:
        raise UserError("--batch_size and --clips: expected 1 or more")
    expected = _expected(flags.expect)
    info = DatasetInfo.load(flags.data)
    source = RecordSource(flags.data, flags.split or fold_splits(info, flags.fold)[1], info)
    model, told = load_model(flags.model), []

    def tell(text: str) -> None:
        told.append(text)
        print(text, flush=True)

    with out_of_memory_says("lower --batch_size"):
        found = examine(
            model,
            source,
            expected=expected,
            clips=flags.clips,
            sample=flags.sample,
            always=flags.always,
            batch_size=flags.batch_size,
            num_workers=flags.num_workers,
            tell=tell,
        )
    if flags.out:
        _write(flags.out, found, told)
    if found["verdict"]["verdict"] != TRUSTED:
        sys.exit(_NOT_TRUSTED)


def _expected(text: str | None) -> Expected | None:
    if text is None:
        return None
    try:
        uar, *war = (float(part) for part in text.split("/"))
        if len(war) > 1 or not all(0 <= value <= 100 for value in (uar, *war)):
            raise ValueError
    except ValueError:
        raise UserError(f"--expect={text}; expected UAR/WAR in percent, such as 63.6/74") from None
    return Expected(uar, war[0] if war else None, "as given by --expect")


def _write(folder: Path | UPath, found: dict[str, Any], told: list[str]) -> None:
    files.make_folder(folder)
    files.write(folder / "doctor.md", "\n".join(told))
    text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False)
    files.write(folder / "doctor.json", text + "\n")


if __name__ == "__main__":
    main()
