"""What a run tells: live progress on the terminal, TensorBoard events, and a line an epoch."""

import contextlib
import datetime
import json
import math
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tensorboard.summary import Writer
from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.optimizer import FROZEN, count, split

HISTORY = "metrics.jsonl"
_EVENTS = "tensorboard"
_PLAIN_WIDTH = 110  # columns of the table of parameters where no terminal says how wide it is


def console() -> Console:
    """The terminal, on stderr; what is printed there may hold any brackets."""
    found = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    if not found.is_terminal:
        found.width = _PLAIN_WIDTH
    return found


class TrainingLog:
    """Sums up steps, shows them, and keeps the history of epochs.

    Attributes:
        history: A row an epoch, oldest first.
        sums: Of the running epoch: loss, accuracy and steps.
    """

    def __init__(
        self,
        workdir: Path | UPath | None,
        epochs: Epochs,
        *,
        batch_size: int,
        every_steps: int,
        start_step: int = 0,
        progress: Mapping[str, Any] | None = None,
    ):
        """Begins, or goes on after a checkpoint.

        Args:
            workdir: Gets `metrics.jsonl` and `tensorboard/`; with None it only sums up.
            epochs: The run's.
            batch_size: Clips a step.
            every_steps: Steps between two lines.
            start_step: Steps taken before.
            progress: What `progress` gave then; the history is written anew from it.
        """
        progress = progress or {}
        self._workdir, self._epochs = workdir, epochs
        self._batch_size, self._every_steps = batch_size, every_steps
        self.history: list[dict[str, Any]] = list(progress.get("history", []))
        self.sums = dict(progress.get("epoch_sums") or _no_sums())
        self._clock = (time.monotonic(), start_step)
        self._write_history()
        self._closing = contextlib.ExitStack()
        self._events = self._open_events()
        self._console = console()
        self._console.quiet = workdir is None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps, {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=workdir is None or not self._console.is_terminal,
        )
        total = epochs.total_steps
        self._task = self._bar.add_task("training", total=total, completed=start_step, rate="")
        self._bar.start()

    def progress(self) -> dict[str, Any]:
        """What a checkpoint keeps of it; the events of before are on disk when it returns.

        A killed run goes on after the checkpoint and never logs them again.
        """
        self._keep_events()
        return {"epoch_sums": dict(self.sums), "history": list(self.history)}

    def has_open_epoch(self, step: int) -> bool:
        """Whether the epoch that `step` steps end was not closed, as its evaluation was cut off."""
        return self.sums["steps"] > 0 and self._epochs.finished(step)[1] == 0

    def is_due(self, step: int) -> bool:
        """Whether a line is to be shown after so many steps."""
        return step % self._every_steps == 0 or step == self._epochs.total_steps

    def step(self, step: int, metrics: Mapping[str, float], learning_rate: float) -> None:
        """Takes the metrics of the step after which `step` steps are done."""
        for name in ("loss", "accuracy"):
            self.sums[name] += float(metrics[name])
        self.sums["steps"] += 1
        if not self.is_due(step):
            return
        now, (then, last) = time.monotonic(), self._clock
        self._clock = (now, step)
        rate = (step - last) / max(now - then, 1e-9)
        self._log("train", {**metrics, "learning_rate": learning_rate}, step)
        epoch, total = self._epochs.finished(step - 1)[0] + 1, self._epochs.total_steps
        loss, accuracy = (self.sums[name] / self.sums["steps"] for name in ("loss", "accuracy"))
        text = f"epoch {epoch} loss {loss:.4f} accuracy {accuracy:.1%}"
        speed = f"{rate * self._batch_size:.1f} clips/s"
        self._bar.update(self._task, completed=step, description=text, rate=speed)
        if not self._console.is_terminal:
            left = datetime.timedelta(seconds=round((total - step) / rate))
            self._console.print(f"step {step}/{total} {text} {speed}, {left} left")

    def epoch(self, step: int, learning_rate: float, test: Mapping[str, float]) -> None:
        """Closes an epoch; `test` holds "test_uar" and "test_war" where it was evaluated."""
        taken = max(self.sums["steps"], 1)
        row = {
            "epoch": self._epochs.finished(step)[0],
            "step": step,
            "train_loss": self.sums["loss"] / taken,
            "train_accuracy": self.sums["accuracy"] / taken,
            "learning_rate": float(learning_rate),
            **test,
        }
        self.history.append(row)
        self.sums = _no_sums()
        self._write_history()
        self._log("test", {name.removeprefix("test_"): value for name, value in test.items()}, step)
        shown = ", ".join(f"{name} {value:.2%}" for name, value in test.items())
        self._console.print(
            f"epoch {row['epoch']} done: train_loss {row['train_loss']:.4f}, "
            f"train_accuracy {row['train_accuracy']:.2%}" + (f", {shown}" if shown else "")
        )
        self._clock = (time.monotonic(), step)  # evaluation is no part of the training speed

    def _open_events(self) -> Writer | None:
        if self._workdir is None:
            return None
        self._events_folder = self._workdir / _EVENTS
        if files.is_remote(self._workdir):  # buckets know no appending
            folder = self._closing.enter_context(tempfile.TemporaryDirectory(prefix="mmadfer_"))
            self._events_folder = Path(folder)
        return Writer(str(self._events_folder))

    def _keep_events(self) -> None:
        """Puts all events of before where the run is."""
        if self._events is None:
            return
        self._events.flush()
        if files.is_remote(self._workdir):
            for path in self._events_folder.iterdir():
                files.upload(path, self._workdir / _EVENTS / path.name)

    def _log(self, group: str, values: Mapping[str, float], step: int) -> None:
        if self._events:
            for name, value in values.items():
                self._events.add_scalar(f"{group}/{name}", float(value), step)

    def _write_history(self) -> None:
        if self._workdir is None:
            return
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in self.history)
        files.write(self._workdir / HISTORY, lines)

    def close(self) -> None:
        """Ends the display and flushes the events."""
        self._bar.stop()
        with self._closing:
            self._keep_events()
            if self._events:
                self._events.close()


def _no_sums() -> dict[str, float]:
    return {"loss": 0.0, "accuracy": 0.0, "steps": 0}


def freeze_table(
    shapes: Mapping[str, jax.ShapeDtypeStruct],
    labels: Mapping[str, str],
    stored: Mapping[str, jax.ShapeDtypeStruct],
) -> Table:
    """The table printed at start: a line for parameters that differ in their index alone.

    Args:
        shapes: Path -> shape.
        labels: Path -> "frozen" | "trained".
        stored: Path -> type in which the parameter is held.
    """
    groups: dict[tuple, list[str]] = {}
    for path, shape in shapes.items():
        name = re.sub(r"\.\d+(?=\.|$)", ".*", path)
        dtype = str(stored[path].dtype)
        groups.setdefault((name, shape.shape, dtype, labels[path]), []).append(path)
    trained, _ = split(shapes, labels)
    table = Table(
        title=f"{count(trained):,} of {count(shapes):,} parameters are trained",
        title_justify="left",
    )
    for heading in ("parameter", "shape", "tensors", "values", "stored as", ""):
        justify = "right" if heading in ("tensors", "values") else "left"
        table.add_column(heading, justify=justify, no_wrap=True)
    for (name, shape, dtype, label), paths in groups.items():
        values = f"{len(paths) * math.prod(shape):,}"
        cells = (name, "x".join(map(str, shape)), str(len(paths)), values, dtype, label)
        table.add_row(*cells, style="dim" if label == FROZEN else "")
    return table
