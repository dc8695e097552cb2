"""Evaluates any model on any prepared data: `python -m mmadfer_jax.evaluate MODEL --data=DIR`."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.clips.clip import NATIVE
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.data.fold import open_fold
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.data.splits import fold_splits
from mmadfer_jax.errors import UserError, exit_on_user_error, out_of_memory_says
from mmadfer_jax.evaluation.examination import Examination
from mmadfer_jax.evaluation.predictions import read_predictions
from mmadfer_jax.evaluation.probes import PROBES, parse_probes
from mmadfer_jax.evaluation.questions import Questions, examine, examine_table
from mmadfer_jax.evaluation.report import summary, write_report
from mmadfer_jax.evaluation.section import Section
from mmadfer_jax.models.config import DTYPES
from mmadfer_jax.trained import TrainedModel, load_model
from mmadfer_jax.training import processes, provenance
from mmadfer_jax.training.frozen import weights_sha256
from mmadfer_jax.training.log import console
from mmadfer_jax.training.settings import check_settings, fill_from, open_workdir, resolve

_LESS_MEMORY = "lower the batch size (--batch_size, config.eval.batch_size)"


def evaluate(
    model: TrainedModel,
    source: RecordSource,
    out: Path | UPath,
    *,
    batch_size: int = 16,
    num_workers: int = 0,
    allow_mismatch: Sequence[str] = (),
    shared: bool = False,
    questions: Questions = Questions(),  # noqa: B008  frozen
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Evaluates a model on clips, on all devices, and writes a report.

    Classes are matched by name, without regard to case and by known synonyms.

    Args:
        model: A run's, a file's or a released checkpoint's.
        source: The clips.
        out: Folder of the report.
        batch_size: Clips of a batch, raised to a multiple of the devices.
        num_workers: Processes that read and decode; 0 does it in threads of this one.
        allow_mismatch: Settings of the preparation in which data and model may differ.
        shared: Asks about the classes alone that data and model share.
        questions: What else is asked.
        tell: Called with each answer to them in Markdown, as soon as it is there.

    Returns:
        What `results.json` holds.

    Raises:
        UserError: The data are not of the kind the model was trained on, or a question cannot be
            answered.
    """
    card, info = model.card, source.info
    provenance.check_preparation(info.preparation, card, allow_mismatch)
    given = {"model": weights_sha256(model.params), "clips": provenance.clips_sha256(source)}
    asked = {"batch_size": batch_size, "shared": shared, "questions": repr(questions)}
    processes.agree("what they evaluate", given | asked | {"dtype": card.model.dtype})
    examination = Examination(
        model, source, batch_size=batch_size, num_workers=num_workers, shared=shared
    )
    notes = [*model.notes, *card.notes, *_doubts(model, info), *examination.notes]
    primary = processes.is_primary()
    for note in notes if primary else ():
        console().print(f"note: {note}")
    answers, *sections = _told(examine(examination, questions, allow_mismatch), tell)
    description = {"name": info.name, "dir": str(source.directory), "splits": list(source.splits)}
    return write_report(
        out if primary else None,
        answers,
        examination.classes,
        settings={
            "model": model.path,
            "data": {**description, "preparation": info.preparation},
            "card": card.to_dict(),
            "notes": notes,
        },
        history=model.history,
        step=model.step,
        sections=sections,
    )


def evaluate_table(
    path: Path | UPath,
    out: Path | UPath,
    *,
    questions: Questions = Questions(),  # noqa: B008  frozen
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """As `evaluate`, of a `predictions.csv` that an evaluation has written."""
    answers, classes = read_predictions(path)
    sections = list(_told(examine_table(answers, classes, questions), tell))
    out = out if processes.is_primary() else None
    return write_report(out, answers, classes, settings={"model": str(path)}, sections=sections)


def _told(found: Iterable[Any], tell: Callable[[str], None]) -> Iterator[Any]:
    for part in found:
        if isinstance(part, Section):
            tell(f"{part.title}\n\n{part.text}\n")
        yield part


def _doubts(model: TrainedModel, info: DatasetInfo) -> list[str]:
    """What may spoil the figures of a model that does not say how its data were prepared."""
    if model.card.preparation is not None:
        return []
    rate = info.preparation.get("sample_rate")
    if rate == NATIVE:
        return []
    return [
        f"the data have sound at {rate} Hz, released weights were trained at the clips' own rates: "
        "16 kHz in their place costs 2.6 UAR"
    ]


def evaluate_run(config: ConfigDict, workdir: str | Path | UPath) -> dict[str, Any]:
    """Evaluates the newest checkpoint of a run on the test splits of its fold, in its directory.

    Returns:
        What `report/results.json` holds.

    Raises:
        UserError: There is no checkpoint, or it does not fit the settings or the data.
    """
    check_settings(config)
    workdir = open_workdir(workdir)
    model = load_model(workdir)
    fold = open_fold(config.data.dir, config.data.fold)
    settings = resolve(config, fold, fill_from(model.card.model))
    provenance.check_same_run(settings, model.card, workdir)
    with out_of_memory_says(_LESS_MEMORY), _kept(workdir):
        return evaluate(
            model,
            fold.test,
            workdir / "report",
            batch_size=config.eval.batch_size,
            num_workers=config.data.num_workers,
            allow_mismatch=config.allow_mismatch,
        )


@exit_on_user_error
def main() -> None:
    """The command."""
    flags = _parser().parse_args()
    with processes.joined(flags.coordinator, flags.processes, flags.process):
        tell = print if processes.is_primary() else lambda text: None
        results = _evaluate(flags, tell)
        tell(summary(results))
        tell(f"report: {flags.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mmadfer_jax.evaluate", description=__doc__)
    add = parser.add_argument
    add(
        "model",
        type=files.as_path,
        help="a run's --workdir, a model file, a released checkpoint, or a predictions.csv",
    )
    add("--data", metavar="DIR", help="a prepared dataset; not for a predictions.csv")
    add("--fold", type=int, default=1, help="whose test part is taken, in five-fold sets (1)")
    add("--split", action="append", metavar="NAME", help="a split to take instead; repeatable")
    add("--out", type=files.as_path, required=True, metavar="DIR", help="where the report goes")
    add("--batch_size", type=int, default=16, help="clips of a batch (16)")
    add("--num_workers", type=int, default=0, help="processes that read clips (threads)")
    add(
        "--allow_mismatch",
        default="",
        metavar="A,B",
        help="settings of the preparation in which data and model may differ",
    )
    add("--dtype", choices=DTYPES, help="in which the model multiplies (as it was trained)")
    add("--face_model", metavar="ONNX", help="YuNet's file, if prepared with it")
    add(
        "--shared_classes",
        action="store_true",
        help="ask about the classes alone that data and model share",
    )
    add(
        "--probe",
        action="append",
        default=[],
        metavar="NAME[=A,B]",
        help=f"show spoilt clips too: all, {', '.join(PROBES)}; repeatable",
    )
    add("--compare", metavar="MODEL", help="another model, or its predictions.csv")
    add(
        "--groups",
        action="append",
        default=[],
        metavar="FILE:COLUMN",
        help="a table by a column of a CSV file whose column clip, id or path names the clips",
    )
    add("--features", type=files.as_path, metavar="NPZ", help="where features of clips go")
    add("--coordinator", metavar="HOST:PORT", help="of several processes: where process 0 is")
    add("--processes", type=int, help="how many there are")
    add("--process", type=int, help="which one this is, from 0")
    return parser


def _evaluate(flags: argparse.Namespace, tell: Callable[[str], None]) -> dict[str, Any]:
    if flags.batch_size < 1:
        raise UserError(f"--batch_size={flags.batch_size}; expected 1 or more")
    questions = Questions(
        parse_probes(flags.probe), flags.compare, tuple(flags.groups), flags.features
    )
    if flags.model.suffix == ".csv":
        with _kept(flags.out):
            return evaluate_table(flags.model, flags.out, questions=questions, tell=tell)
    if flags.data is None:
        raise UserError("--data=DIR is missing; give a prepared dataset")
    info = DatasetInfo.load(flags.data)
    splits = flags.split or fold_splits(info, flags.fold)[1]
    source = RecordSource(flags.data, splits, info)
    model = load_model(flags.model, flags.face_model, dtype=flags.dtype)
    allowed = tuple(name for name in flags.allow_mismatch.split(",") if name)
    with out_of_memory_says(_LESS_MEMORY), _kept(flags.out):
        return evaluate(
            model,
            source,
            flags.out,
            batch_size=flags.batch_size,
            num_workers=flags.num_workers,
            allow_mismatch=allowed,
            shared=flags.shared_classes,
            questions=questions,
            tell=tell,
        )


def _kept(folder: Path | UPath) -> AbstractContextManager[None]:
    """The lock of the process that writes; nothing for the others."""
    return files.lock(folder) if processes.is_primary() else nullcontext()


if __name__ == "__main__":
    main()
