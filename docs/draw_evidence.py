"""Draws docs/images/evidence/, the figures of docs/evaluation.md, from what `make demo` left.

Run it from the repository's root: `.venv/bin/python -m docs.draw_evidence`. It does what this
command does:

    python -m mmadfer_jax.evaluate demo/run --data=demo/data --out=demo/evidence --probe=all \
        --groups=demo/faces.csv:face

where `demo/faces.csv` says of each clip whether its face is dark, medium or light.
"""

import csv
import shutil
from pathlib import Path

import numpy as np

from mmadfer_jax.clips.frames import decode_jpeg
from mmadfer_jax.data.records import Record, RecordSource
from mmadfer_jax.evaluate import evaluate
from mmadfer_jax.evaluation import drawing
from mmadfer_jax.evaluation.probes import parse_probes
from mmadfer_jax.evaluation.questions import Questions
from mmadfer_jax.trained import load_model

DEMO, OUT = Path("demo"), Path("docs/images/evidence")


def lightness(record: Record) -> float:
    """The mean grey level of the middle of the first face crop."""
    frame = decode_jpeg(record.frames[0])
    third = len(frame) // 3
    return float(frame[third:-third, third:-third].mean())


def write_faces(source: RecordSource, path: Path) -> None:
    """A third of the clips each are dark, medium and light."""
    levels = np.array([lightness(source[i]) for i in range(len(source))])
    thirds = np.searchsorted(np.quantile(levels, (1 / 3, 2 / 3)), levels)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("clip", "face"))
        for clip, third in zip(source.ids, thirds, strict=True):
            writer.writerow((clip, ("dark", "medium", "light")[third]))


def main() -> None:
    """Evaluates the demo's model and keeps the figures."""
    drawing.DPI = 150  # for a screen
    source = RecordSource(DEMO / "data", ["test"])
    write_faces(source, DEMO / "faces.csv")
    questions = Questions(probes=parse_probes(["all"]), groups=(f"{DEMO}/faces.csv:face",))
    report = DEMO / "evidence"
    model = load_model(DEMO / "run")
    evaluate(model, source, report, batch_size=77, questions=questions, tell=print)
    OUT.mkdir(exist_ok=True)
    for figure in sorted(report.glob("*.png")):
        if figure.stem not in ("confusion_matrix", "curves"):
            shutil.copyfile(figure, OUT / figure.name)


if __name__ == "__main__":
    main()
