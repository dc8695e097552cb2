"""A model on all devices and the clips that it is asked about, in one way after another."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluation.classes import describe_match, match_classes, shared_classes
from mmadfer_jax.evaluation.evaluator import Answers, show_clips
from mmadfer_jax.trained import TrainedModel
from mmadfer_jax.training.input import Alteration
from mmadfer_jax.training.program import Program
from mmadfer_jax.training.sharding import make_mesh


class Examination:
    """Passes of a model over clips; its weights are placed and its step is compiled once.

    Attributes:
        model: The model.
        source: The clips it is shown.
        classes: Names of the K classes that answers are about, in their order.
        notes: What was done about classes whose names or order differ.
    """

    def __init__(
        self,
        model: TrainedModel,
        source: RecordSource,
        *,
        batch_size: int = 16,
        num_workers: int = 0,
        shared: bool = False,
    ):
        """Matches the classes by name and places the model.

        Args:
            model: A run's, a file's or a released checkpoint's.
            source: The clips.
            batch_size: Clips of a batch, raised to a multiple of the devices.
            num_workers: Processes that read and decode; 0 does it in threads of this one.
            shared: Asks about the classes that data and model share alone: clips of others are
                left out, and the model cannot answer with others.

        Raises:
            UserError: A class of the data is none of the model's, or too few are shared.
        """
        self.model, self.source, self.classes = model, source, tuple(model.classes)
        self._asked: Sequence[int] | None = None  # logits that count; None for all
        data, self.notes = source.info.classes, []
        if shared:
            self._share(data)
        else:
            self._places = match_classes(data, model.classes)
            if matched := describe_match(data, model.classes, self._places):
                self.notes.append(matched)
        mesh = make_mesh()
        self._batch_size, self._num_workers = -(-batch_size // mesh.size) * mesh.size, num_workers
        self._program = Program.for_evaluation(model.card.model, mesh)
        self._params = self._program.place_frozen(model.params)

    def _share(self, data: Sequence[str]) -> None:
        ours, asked = shared_classes(data, self.classes)
        self._asked, self._places = asked, np.full(len(data), -1)
        self._places[ours] = np.arange(len(ours))
        every = len(self.source)
        self.source = self.source.only(np.flatnonzero(self._places[self.source.labels] >= 0))
        if not len(self.source):
            raise UserError("no clip has a class that data and model share")
        foreign = [name for i, name in enumerate(data) if i not in ours]
        never = [name for i, name in enumerate(self.classes) if i not in asked]
        self.classes = tuple(self.classes[i] for i in asked)
        said = f"on the {len(ours)} classes that data and model share: {', '.join(self.classes)}"
        if foreign:
            left = every - len(self.source)
            said += f"; {left:,} of {every:,} clips, of {', '.join(foreign)}, are left out"
        if never:
            said += f"; the model may not answer {', '.join(never)}"
        self.notes.append(said)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int32 [n], the true classes as places in `classes`."""
        return np.asarray(self._places, np.int32)[self.source.labels]

    def of(self, other: TrainedModel) -> "Examination":
        """The same of another model.

        Raises:
            UserError: Its classes do not fit the clips.
        """
        return Examination(
            other,
            self.source,
            batch_size=self._batch_size,
            num_workers=self._num_workers,
            shared=self._asked is not None,
        )

    def answers(self, alter: Alteration | None = None, reading: Reading | None = None) -> Answers:
        """What the model says of every clip.

        Args:
            alter: Changes each clip before the model sees it.
            reading: Another way to read clips than the model's.

        Raises:
            UserError: A record is corrupt, or an answer is not finite.
        """
        return self._show(lambda name: False, alter, reading)[0]

    def inspect(
        self, alter: Alteration | None = None, *, features: bool = False
    ) -> tuple[Answers, dict[str, np.ndarray]]:
        """As `answers`, with what the model computes on the way.

        Args:
            alter: As of `answers`.
            features: Whether they are wanted.

        Returns:
            The answers, and by name as of `MmaDfer`'s `on_head` float32 [n, ...]: the temporal
            attention, and the features of clips and frames where they are wanted.
        """
        return self._show(lambda name: features or name.startswith("attention."), alter)

    def _show(
        self,
        wanted: Callable[[str], bool],
        alter: Alteration | None = None,
        reading: Reading | None = None,
    ) -> tuple[Answers, dict[str, np.ndarray]]:
        def step(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
            found = self._program.inspection_step({}, self._params, batch)
            return {name: x for name, x in found.items() if name == "logits" or wanted(name)}

        found = show_clips(
            step,
            self._program.batch_sharding,
            self.source,
            reading or self.model.card.reading,
            batch_size=self._batch_size,
            num_workers=self._num_workers,
            alter=alter,
        )
        logits = found.pop("logits")
        asked = logits if self._asked is None else logits[:, self._asked]
        return Answers(list(self.source.ids), self.labels, asked), found
