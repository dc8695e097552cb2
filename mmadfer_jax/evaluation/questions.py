"""What can be asked of a model beside how often it is right, and the answers as sections."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from upath import UPath

from mmadfer_jax import files
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.comparison import comparison_section
from mmadfer_jax.evaluation.evaluator import Answers
from mmadfer_jax.evaluation.examination import Examination
from mmadfer_jax.evaluation.groups import groups_section, read_groups
from mmadfer_jax.evaluation.insides import attention_section, features_npz, gates_section
from mmadfer_jax.evaluation.predictions import read_predictions
from mmadfer_jax.evaluation.probes import Wanted, plan_probes, probe
from mmadfer_jax.evaluation.section import Section
from mmadfer_jax.trained import load_model
from mmadfer_jax.training import processes, provenance


@dataclasses.dataclass(frozen=True)
class Questions:
    """What is asked.

    Attributes:
        probes: Other ways to show clips, as `parse_probes` gives them.
        compare: Another model, or its `predictions.csv`, to be compared on the same clips.
        groups: "FILE:COLUMN" of each table by group.
        features: A file that ends in ".npz", for what the model makes of each clip.
    """

    probes: Wanted = dataclasses.field(default_factory=dict)
    compare: str | None = None
    groups: Sequence[str] = ()
    features: Path | UPath | None = None

    def __post_init__(self):
        if self.features and self.features.suffix != ".npz":
            raise UserError(f"--features={self.features}; expected a name that ends in .npz")


def examine(
    examination: Examination, questions: Questions, allow_mismatch: Sequence[str] = ()
) -> Iterator[Answers | Section]:
    """Shows a model its clips: first the answers, then a section for each question.

    Args:
        examination: The model and the clips.
        questions: What is asked.
        allow_mismatch: As of `provenance.check_preparation`, for a model that is compared.

    Raises:
        UserError: A question cannot be answered.
    """
    # What can be wrong with a question is found before the clips are shown.
    columns = _columns(questions, examination.source.ids)
    other = _other(questions, examination, allow_mismatch)
    probes = plan_probes(questions.probes, examination)
    answers, seen = examination.inspect(features=questions.features is not None)
    yield answers
    classes = examination.classes
    if questions.features and processes.is_primary():
        files.make_folder(questions.features.parent)
        files.write(questions.features, features_npz(answers, seen, classes))
    if columns:
        yield groups_section(answers, len(classes), columns)
    if isinstance(other, Examination):
        other = other.answers(), other.classes
    if other:
        yield comparison_section(answers, classes, *other, questions.compare)
    if gates := gates_section(examination.model.params):
        yield gates
    if attention := attention_section(answers, seen, classes):
        yield attention
    yield from probe(examination, probes, answers)


def examine_table(
    answers: Answers, classes: Sequence[str], questions: Questions
) -> Iterator[Section]:
    """As `examine`, of answers alone, without their model.

    Raises:
        UserError: A question needs the model.
    """
    if questions.probes or questions.features:
        raise UserError(
            "--probe and --features need a model and --data; a table of predictions has neither"
        )
    if questions.compare and not _is_table(questions.compare):
        raise UserError(
            f"--compare={questions.compare}; a table of predictions is compared with another "
            "predictions.csv"
        )
    if columns := _columns(questions, answers.ids):
        yield groups_section(answers, len(classes), columns)
    if name := questions.compare:
        other = read_predictions(files.as_path(name))
        yield comparison_section(answers, classes, *other, name)


def _columns(questions: Questions, clips: Sequence[str]) -> dict[str, list[str]]:
    return dict(read_groups(spec, clips) for spec in questions.groups)


def _is_table(name: str) -> bool:
    return name.endswith(".csv")


def _other(
    questions: Questions, examination: Examination, allow_mismatch: Sequence[str]
) -> Examination | tuple[Answers, Sequence[str]] | None:
    """What the model is compared with: another one, or answers and their class names."""
    if not (name := questions.compare):
        return None
    if _is_table(name):
        return read_predictions(files.as_path(name))
    other = load_model(name)
    preparation = examination.source.info.preparation
    provenance.check_preparation(preparation, other.card, allow_mismatch)
    return examination.of(other)
