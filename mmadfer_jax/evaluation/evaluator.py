"""The evaluation loop: a model's logits for every clip of some splits."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.params import Params
from mmadfer_jax.training import processes
from mmadfer_jax.training.input import eval_batches, local_rows, to_global
from mmadfer_jax.training.program import Program


class Answers(NamedTuple):
    """What a model says of clips.

    Attributes:
        ids: The n clips' names.
        labels: int32 [n], true classes, in the model's order.
        logits: float32 [n, K].
    """

    ids: list[str]
    labels: np.ndarray
    logits: np.ndarray


def evaluate_clips(
    program: Program,
    trainable: Params,
    frozen: Params,
    source: RecordSource,
    reading: Reading,
    *,
    batch_size: int,
    num_workers: int = 0,
    classes: Sequence[int] | None = None,
    between: Callable[[], None] = lambda: None,
) -> Answers:
    """Shows every clip to a model, once, with the frames of test time.

    Args:
        program: The model's.
        trainable: Its parameters that train, on the mesh.
        frozen: The others.
        source: The clips.
        reading: How the model reads a clip.
        batch_size: Clips of a batch; the last one is padded.
        num_workers: Processes that read and decode; 0 does it in threads of this one.
        classes: The model's class for each class of the data; the same where None.
        between: Called after each batch.

    Raises:
        UserError: A record is corrupt, or an answer is not finite.
    """
    rows = local_rows(program.batch_sharding, batch_size)
    batches = eval_batches(
        source, reading, batch_size=batch_size, rows=rows, num_workers=num_workers
    )
    pieces: list[np.ndarray] = []
    waiting: jax.Array | None = None
    for number, batch in enumerate(batches, 1):
        processes.progress(f"evaluating batch {number}")
        placed = to_global(batch, program.batch_sharding, batch_size, rows)
        logits = program.eval_step(trainable, frozen, placed)
        if waiting is not None:
            pieces.append(jax.device_get(waiting))  # the batch before, while this one runs
        waiting = logits
        between()
    pieces.append(jax.device_get(waiting))
    logits = np.concatenate(pieces)[: len(source)]
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        named = [source.ids[i] for i in np.flatnonzero(~finite)[:3]]
        raise UserError(
            f"the model's answer is not finite for {(~finite).sum()} of {len(source)} clips, such "
            f"as {', '.join(named)}: its weights are damaged or training had diverged"
        )
    labels = source.labels if classes is None else np.asarray(classes, np.int32)[source.labels]
    return Answers(list(source.ids), labels, logits)
