"""The evaluation loop: a model's logits for every clip of some splits."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from mmadfer_jax.clips.reading import Reading
from mmadfer_jax.data.records import RecordSource
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.params import Params
from mmadfer_jax.training import processes
from mmadfer_jax.training.input import Alteration, eval_batches, local_rows, to_global
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
    between: Callable[[], None] = lambda: None,
) -> Answers:
    """Shows every clip to a model, once, with the frames of test time.

    Args:
        program: The model's.
        trainable: Its parameters that train, on the mesh.
        frozen: The others.
        source: The clips, whose classes are the model's.
        reading: How the model reads a clip.
        batch_size: Clips of a batch; the last one is padded.
        num_workers: Processes that read and decode; 0 does it in threads of this one.
        between: Called after each batch.

    Raises:
        UserError: A record is corrupt, or an answer is not finite.
    """
    found = show_clips(
        lambda batch: {"logits": program.eval_step(trainable, frozen, batch)},
        program.batch_sharding,
        source,
        reading,
        batch_size=batch_size,
        num_workers=num_workers,
        between=between,
    )
    return Answers(list(source.ids), source.labels, found["logits"])


def show_clips(
    step: Callable[[dict[str, jax.Array]], Mapping[str, jax.Array]],
    sharding: jax.sharding.Sharding,
    source: RecordSource,
    reading: Reading,
    *,
    batch_size: int,
    num_workers: int = 0,
    alter: Alteration | None = None,
    between: Callable[[], None] = lambda: None,
) -> dict[str, np.ndarray]:
    """What a step gives for every clip.

    Args:
        step: Of a global batch, replicated: "logits" [B, K], and arrays [B, ...] by other names.
        sharding: Of a batch.
        source: The clips.
        reading: How they are read.
        batch_size: Clips of a batch; the last one is padded.
        num_workers: Processes that read and decode; 0 does it in threads of this one.
        alter: Changes every clip before it is seen.
        between: Called after each batch.

    Returns:
        The same for all n clips, on the host: name -> [n, ...].

    Raises:
        UserError: A record is corrupt, or an answer is not finite.
    """
    rows = local_rows(sharding, batch_size)
    batches = eval_batches(
        source, reading, batch_size=batch_size, rows=rows, num_workers=num_workers, alter=alter
    )
    pieces: list[Mapping[str, np.ndarray]] = []
    waiting: Mapping[str, jax.Array] | None = None
    for number, batch in enumerate(batches, 1):
        processes.progress(f"evaluating batch {number}")
        found = step(to_global(batch, sharding, batch_size, rows))
        if waiting is not None:
            pieces.append(jax.device_get(waiting))  # the batch before, while this one runs
        waiting = found
        between()
    pieces.append(jax.device_get(waiting))
    found = {
        name: np.concatenate([piece[name] for piece in pieces])[: len(source)] for name in pieces[0]
    }
    _check_finite(found["logits"], source)
    return found


def _check_finite(logits: np.ndarray, source: RecordSource) -> None:
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        named = [source.ids[i] for i in np.flatnonzero(~finite)[:3]]
        raise UserError(
            f"the model's answer is not finite for {(~finite).sum()} of {len(source)} clips, such "
            f"as {', '.join(named)}: its weights are damaged or training had diverged"
        )
