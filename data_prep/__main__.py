"""`python -m data_prep`: videos with labels -> a dataset of face crops and log-mels."""

import argparse
import importlib
import inspect
import io
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mmadfer_jax.errors import UserError, exit_on_user_error
from mmadfer_jax.files import as_path

_DATASETS = (  # one module of data_prep.datasets each
    "dfew",
    "mafw",
    "mafw_compound",
    "crema_d",
    "ravdess",
    "ferv39k",
    "afew",
    "mer2023",
    "enterface05",
    "caer",
    "folder",
    "synthetic",
)
_DATASET_FLAGS = (
    *("source", "labels", "media", "classes", "label_base", "folds", "clips", "seed"),
    "pair",
)
_EPILOG = """examples:
  python -m data_prep --dataset=dfew --source=DFEW --out=prepared --check
  python -m data_prep --dataset=dfew --source=DFEW --out=prepared
  python -m data_prep --dataset=folder --source=videos --labels=labels.csv --out=prepared
  python -m data_prep --dataset=synthetic --clips=200 --out=prepared

The labels file is CSV with the header `path,label` and, if wanted, `split`, `audio` and `group`;
without it, `folder` expects a folder a class. docs/data.md describes each dataset.
An interrupted run goes on when the same command is given again. Sources and outputs may be URLs
that fsspec knows, such as gs://bucket/folder."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (--help lists the flags)\n")


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value}, expected {least} or more")
        return value

    return number


def _rate(text: str) -> int | str:
    if text == "native":
        return text
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is neither `native` nor a rate in Hz")
    return int(text)


def _place(text: str) -> Path:
    try:
        return as_path(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if len(set(names)) < len(names) or "" in names:
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name or one twice")
    return names


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m data_prep",
        description=__doc__.split(": ")[1],
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--dataset", choices=_DATASETS, required=True, help="where the clips come from")
    add("--out", type=_place, required=True, metavar="DIR", help="folder of the prepared dataset")
    add("--image_size", type=_at_least(16), default=224, metavar="S", help="frame side (224)")
    add("--sample_rate", type=_rate, default="native", metavar="HZ", help="native, or 16000, ...")
    add(
        "--faces",
        choices=("mtcnn", "yunet", "none"),
        default="mtcnn",
        help="none: videos are face crops",
    )
    add("--face_model", metavar="ONNX", help="yunet: its model file")
    add(
        "--face",
        choices=("union", "track"),
        default="union",
        help="crop: around all faces of each frame, or one box for one face followed (union)",
    )
    add("--detect_every", type=_at_least(1), default=1, metavar="N", help="look in every Nth frame")
    add(
        "--min_face",
        type=_at_least(20),
        default=20,
        metavar="N",
        help="mtcnn: side of the smallest face to look for, pixels (20)",
    )
    add(
        "--detect_side",
        type=_at_least(32),
        default=1280,
        metavar="N",
        help="shrink longer pictures to this for the search, pixels (1280)",
    )
    add("--check", action="store_true", help="look at the clips and report, prepare nothing")
    add("--shards", type=_at_least(1), metavar="N", help="files a split (one per 128 clips)")
    add("--workers", type=_at_least(1), metavar="N", help="processes (one a core)")
    add(
        "--runner", choices=("local", "beam"), default="local", help="beam: an Apache Beam pipeline"
    )
    add("--beam_options", type=shlex.split, metavar="OPTIONS", help="beam: passed through, quoted")
    add(
        "--redo",
        type=_names,
        default=(),
        metavar="NAMES",
        help="prepare again: all, skipped, or names of splits or clips",
    )
    add("--source", type=_place, metavar="DIR", help="where the clips are")
    add(
        "--labels",
        type=_place,
        metavar="PATH",
        help="folder: CSV file; others: folder of the lists",
    )
    add("--media", choices=("frames", "video"), help="dfew, mafw: take no other (what is there)")
    add("--classes", type=_names, metavar="A,B,...", help="folder: class order (sorted names)")
    add(
        "--label_base",
        type=int,
        choices=(0, 1),
        metavar="0|1",
        help="folder: what labels that are numbers count from, with --classes",
    )
    add("--folds", type=_at_least(2), metavar="K", help="folder: parts without a split column (5)")
    add("--clips", type=_at_least(1), metavar="N", help="synthetic: clips to render")
    add("--seed", type=_at_least(0), metavar="N", help="synthetic: of the rendering")
    add(
        "--pair",
        action="store_true",
        default=None,
        help="synthetic: two more classes, told only by picture and sound together",
    )
    return parser.parse_args(arguments)


def _arguments(
    flags: argparse.Namespace, parameters: Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    """What the dataset's `list_clips` is called with: the given flags that it has parameters for.

    Raises:
        UserError: One is missing, or is given and means nothing for this dataset.
    """
    given = {name: value for name, value in vars(flags).items() if value is not None}
    for name in _DATASET_FLAGS:
        if name in given and name not in parameters:
            raise UserError(f"--{name} means nothing with --dataset={flags.dataset}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise UserError(f"--dataset={flags.dataset} needs --{name}")
    return {name: given[name] for name in parameters if name in given}


@exit_on_user_error
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command with these arguments, or those of the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files may have letters that the terminal has not.
        sys.stdout.reconfigure(errors="backslashreplace")
    flags = _parse(arguments)
    dataset = importlib.import_module(f"data_prep.datasets.{flags.dataset}")
    asked = _arguments(flags, inspect.signature(dataset.list_clips).parameters)
    # After the flags, which may be wrong.
    from data_prep import check, listing, plan, run
    from data_prep.report import finding, terminal, write
    from mmadfer_jax.clips.clip import PrepareSettings, make_detector

    settings = PrepareSettings(
        image_size=flags.image_size,
        sample_rate=flags.sample_rate,
        faces=flags.faces,
        face=flags.face,
        face_model=flags.face_model,
        detect_every=flags.detect_every,
        detect_side=flags.detect_side,
        min_face=flags.min_face,
    )
    if flags.beam_options is not None and flags.runner != "beam":
        raise UserError("--beam_options means nothing with --runner=local")
    plan.check_out(flags.out)
    make_detector(settings)  # what is wrong with it is said here, and not by every worker
    found = dataset.list_clips(**asked)
    listing.check(found)
    if not flags.check and (reasons := listing.unfit(found)):
        raise UserError(f"{'; '.join(reasons)} (--check reports on a part of a dataset too)")
    workers = flags.workers or os.cpu_count() or 1
    missing = [clip.missing for clip in found.clips if clip.missing]
    splits = ", ".join(f"{split} {len(clips)}" for split, clips in found.splits.items())
    print(f"{len(found.clips)} clips ({splits}), classes in order: {', '.join(found.classes)}")
    if missing:
        print(f"not there: {len(missing)} of them, {listing.some(missing)}")
    if flags.check:
        with terminal.progress(len(found.clips), "looking") as advance:
            entries = check.inspect_all(found, workers, advance)
        chosen = check.choose_to_draw(entries)
        with terminal.progress(len(chosen), "drawing") as advance:
            pictures = check.draw(found, chosen, settings, workers, advance)
        stage = finding.CHECKED
    else:
        with terminal.progress(len(found.clips), "preparing") as advance:
            entries = run.prepare_dataset(
                found,
                flags.out,
                settings,
                shards=flags.shards,
                workers=workers,
                advance=advance,
                redo=flags.redo,
                beam_options=(flags.beam_options or []) if flags.runner == "beam" else None,
            )
        pictures, stage = write.sheets_of_prepared(flags.out, entries), finding.PREPARED
    report = write.write_report(flags.out, found, entries, settings, stage, pictures)
    terminal.show(report, entries)
    print(f"{stage}, see {flags.out / write.PAGE_FILE}")


if __name__ == "__main__":
    main()
