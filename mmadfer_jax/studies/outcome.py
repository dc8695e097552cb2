"""What has become of a run, as its folder shows it."""

import dataclasses
import functools
import json
import re
import statistics
from pathlib import Path
from typing import Any

from mmadfer_jax import files
from mmadfer_jax.card import ModelCard
from mmadfer_jax.data.fold import Fold, open_fold
from mmadfer_jax.errors import UserError
from mmadfer_jax.studies.plan import Run
from mmadfer_jax.training import provenance
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.log import HISTORY
from mmadfer_jax.training.settings import fill_from, plain, resolve

FINISHED = "finished"
FAILED = "failed"  # by a command, which said why
OTHER = "other settings"  # another study's run, or this one's before it was changed
CUT = "cut short"  # it was finished, but its results cannot be read
OPEN = "open"  # not begun, or not at its end

LOG, FAILURE = "log.txt", "failure.json"
_SPEED = re.compile(r"^step .* ([0-9.]+) clips/s, ", re.M)
# What a run may change when it goes on, but not within a study.
_SAME = ("train.epochs", "train.batch_size")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A run's.

    Attributes:
        run: Whose.
        state: One of the constants above.
        why: Of a failure, of other settings, of results that cannot be read.
        results: What `report/results.json` holds, of a finished run.
        history: A row an epoch, of a finished run; empty where it cannot be read.
        speed: Clips a second in training, the median of the log's lines; None where it has none.
    """

    run: Run
    state: str
    why: str = ""
    results: dict[str, Any] = dataclasses.field(default_factory=dict)
    history: tuple[dict[str, Any], ...] = ()
    speed: float | None = None

    @property
    def card(self) -> ModelCard:
        """A finished run's."""
        return ModelCard.from_dict(self.results["settings"]["card"], self.run.name)

    def recalls(self) -> list[float | None]:
        """Of each class, of a finished run; None for a class without clips."""
        return [self.results["per_class_recall"][name] for name in self.results["classes"]]


def look(run: Run, folder: Path) -> Outcome:
    """What has become of a run.

    Args:
        run: It.
        folder: Its own.
    """
    found = _finished(run, folder)
    if found is None:
        card, found = _card(folder), Outcome(run, OPEN)
        if card and (why := _differences(run, card, folder)):
            found = Outcome(run, OTHER, why)
        elif why := read_failure(folder):
            found = Outcome(run, FAILED, why)
    return found


def write_failure(folder: Path, why: str) -> None:
    """Notes why a run failed, for the report and for other machines."""
    files.write(folder / FAILURE, json.dumps({"why": why}, ensure_ascii=False) + "\n")


def read_failure(folder: Path) -> str | None:
    """Why a run failed; None where it has not."""
    try:
        return str(json.loads(files.read_text(folder / FAILURE))["why"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return "unknown"


def _finished(run: Run, folder: Path) -> Outcome | None:
    """A run with results of its last epoch, or with a file of results that cannot be read."""
    path = folder / "report" / "results.json"
    try:
        results = json.loads(files.read_text(path))
        card = ModelCard.from_dict(results["settings"]["card"], str(path))
        names = (field.name for field in dataclasses.fields(Epochs))
        epochs = Epochs(**{name: card.training["config"]["train"][name] for name in names})
        at_its_end = results["step"] == epochs.total_steps
        _check_figures(results)
    except FileNotFoundError:
        return None
    except (UserError, ValueError, KeyError, TypeError) as error:
        why = f"{path} cannot be read ({type(error).__name__}: {error})"
        return Outcome(run, CUT, " ".join(why.split()))
    if why := _differences(run, card, folder):
        return Outcome(run, OTHER, why)
    if not at_its_end:  # evaluated on its way
        return None
    speed = _speed(folder)
    return Outcome(run, FINISHED, "", results, _history(folder), speed)


def _check_figures(results: dict[str, Any]) -> None:
    """Raises ValueError, KeyError or TypeError for results that lack a figure."""
    count, matrix = len(results["classes"]), results["confusion_matrix"]
    if len(matrix) != count or any(len(row) != count for row in matrix):
        raise ValueError(f"a confusion matrix of {len(matrix)} rows for {count} classes")
    for name in ("uar", "war"):
        if not 0 <= results[name] <= 1:
            raise ValueError(f"{name} is {results[name]}")
    if list(results["per_class_recall"]) != results["classes"]:
        raise ValueError("recalls of other classes")


def _card(folder: Path) -> ModelCard | None:
    """Of a run that was begun; None where there is none, or one that its checkpoints will mend."""
    try:
        return ModelCard.from_dict(json.loads(files.read_text(folder / "card.json")), str(folder))
    except (OSError, ValueError, UserError):
        return None


def _differences(run: Run, card: ModelCard, folder: Path) -> str:
    """In which settings or data a run in a folder is another than the study's; "" in none."""
    fold, data = _data(str(run.config.data.dir), run.config.data.fold)
    try:
        settings = resolve(run.config, fold, fill_from(card.model))
        provenance.check_same_run(settings, card, folder)
        provenance.check_same_data(data, card, folder)
    except UserError as error:
        return str(error)
    then, now = card.training["config"]["train"], plain(run.config)["train"]
    return "; ".join(
        f"{name}: {then[key]} there, {now[key]} now"
        for name in _SAME
        if then[key := name.removeprefix("train.")] != now[key]
    )


@functools.cache
def _data(directory: str, number: int) -> tuple[Fold, dict[str, Any]]:
    fold = open_fold(directory, number)
    return fold, provenance.describe_data(fold)


def _history(folder: Path) -> tuple[dict[str, Any], ...]:
    try:
        lines = files.read_text(folder / HISTORY).splitlines()
        return tuple(json.loads(line) for line in lines)
    except (OSError, ValueError):
        return ()


def _speed(folder: Path) -> float | None:
    try:
        found = _SPEED.findall((folder / LOG).read_text(errors="replace"))
    except OSError:
        return None
    return statistics.median(map(float, found)) if found else None
