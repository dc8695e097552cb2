"""What a run tells: live progress on the terminal, TensorBoard events, and a line an epoch."""

import json
import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tensorboard.summary import Writer

from mmadfer_jax import files
from mmadfer_jax.training.optimizer import FROZEN, count, split

HISTORY = "metrics.jsonl"


def read_history(workdir: Path, up_to_step: int) -> list[dict[str, Any]]:
    """The epochs a run has finished by `up_to_step`, oldest first."""
    path = Path(workdir) / HISTORY
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if row["step"] <= up_to_step]


class TrainingLog:
    """Sums up steps, shows them, and keeps the history of epochs.

    Only the first process of a run should have one that is `active`; the others' writes nothing.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        start_step: int,
        total_steps: int,
        steps_per_epoch: int,
        batch_size: int,
        every_steps: int,
        active: bool = True,
    ):
        self.workdir, self.active = Path(workdir), active
        self._steps_per_epoch, self._batch_size = steps_per_epoch, batch_size
        self._every_steps, self._total = every_steps, total_steps
        self.history = read_history(self.workdir, start_step)
        self.sums = {"loss": 0.0, "accuracy": 0.0, "steps": 0}
        self._clock = (time.monotonic(), start_step)
        if not active:
            return
        self._write_history()
        self._events = Writer(str(self.workdir / "tensorboard"))
        self._console = Console(stderr=True, soft_wrap=True)
        self._bar = None
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} steps, {task.fields[rate]}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task(
                "training", total=total_steps, completed=start_step, rate=""
            )
            self._bar.start()

    def step(self, step: int, metrics: dict[str, float], learning_rate: float):
        """Takes the metrics of the step after which `step` steps are done."""
        for name in ("loss", "accuracy"):
            self.sums[name] += float(metrics[name])
        self.sums["steps"] += 1
        if not self.active or (step % self._every_steps and step != self._total):
            return
        now, (then, last) = time.monotonic(), self._clock
        self._clock = (now, step)
        rate = (step - last) / max(now - then, 1e-9)
        scalars = {**metrics, "learning_rate": learning_rate}
        for name, value in scalars.items():
            self._events.add_scalar(f"train/{name}", float(value), step)
        epoch = (step - 1) // self._steps_per_epoch + 1
        loss, accuracy = (self.sums[n] / self.sums["steps"] for n in ("loss", "accuracy"))
        text = f"epoch {epoch} loss {loss:.4f} accuracy {accuracy:.1%}"
        speed = f"{rate * self._batch_size:.1f} clips/s"
        if self._bar:
            self._bar.update(self._task, completed=step, description=text, rate=speed)
            return
        left = time.strftime("%H:%M:%S", time.gmtime((self._total - step) / rate))
        self._console.print(
            f"step {step}/{self._total} {text} {speed}, {left} left", highlight=False
        )

    def epoch(self, step: int, learning_rate: float, test: dict[str, float]):
        """Closes an epoch; `test` holds "test_uar" and "test_war" where it was evaluated."""
        count = max(self.sums["steps"], 1)
        row = {
            "epoch": step // self._steps_per_epoch,
            "step": step,
            "train_loss": self.sums["loss"] / count,
            "train_accuracy": self.sums["accuracy"] / count,
            "learning_rate": learning_rate,
            **test,
        }
        self.history.append(row)
        self.sums = {"loss": 0.0, "accuracy": 0.0, "steps": 0}
        if not self.active:
            return
        self._write_history()
        for name, value in test.items():
            self._events.add_scalar(f"test/{name.removeprefix('test_')}", value, step)
        shown = ", ".join(f"{name} {value:.2%}" for name, value in test.items())
        self._console.print(
            f"epoch {row['epoch']} done: train_loss {row['train_loss']:.4f}, "
            f"train_accuracy {row['train_accuracy']:.2%}" + (f", {shown}" if shown else ""),
            highlight=False,
        )
        self._clock = (time.monotonic(), step)  # evaluation is no part of the training speed

    def _write_history(self):
        lines = "".join(json.dumps(row) + "\n" for row in self.history)
        files.write(self.workdir / HISTORY, lines)

    def close(self):
        """Ends the display and flushes the events."""
        if not self.active:
            return
        if self._bar:
            self._bar.stop()
        self._events.close()


def freeze_table(
    shapes: Mapping[str, jax.ShapeDtypeStruct], labels: Mapping[str, str], stored: Mapping[str, str]
) -> Table:
    """The table printed at start: a line for parameters that differ in their index alone.

    Args:
      shapes: path -> shape.
      labels: path -> "frozen" | "trained".
      stored: label -> dtype in which such parameters are held.
    """
    groups: dict[tuple, list[str]] = {}
    for path, shape in shapes.items():
        name = re.sub(r"\.\d+(?=\.|$)", ".*", path)
        groups.setdefault((name, shape.shape, labels[path]), []).append(path)
    trained, _ = split(shapes, labels)
    table = Table(
        title=f"{count(trained):,} of {count(shapes):,} parameters are trained",
        title_justify="left",
    )
    for heading in ("parameter", "shape", "tensors", "values", "stored as", ""):
        justify = "right" if heading in ("tensors", "values") else "left"
        table.add_column(heading, justify=justify, no_wrap=True)
    for (name, shape, label), paths in groups.items():
        style = "dim" if label == FROZEN else ""
        values = f"{len(paths) * math.prod(shape):,}"
        cells = (name, "x".join(map(str, shape)), str(len(paths)), values, stored[label], label)
        table.add_row(*cells, style=style)
    return table
