"""What an arm costs: parameters, and the FLOPs of a clip."""

import functools
import json
from typing import NamedTuple

import jax

from mmadfer_jax.card import ModelCard
from mmadfer_jax.costing.flops import flops_by_part
from mmadfer_jax.training.optimizer import count, split
from mmadfer_jax.training.program import Program
from mmadfer_jax.training.sharding import make_mesh


class Cost(NamedTuple):
    """Of a model.

    Attributes:
        trained: Parameters that train.
        frozen: Those that do not.
        flops_forward: FLOPs of a clip in evaluation, as `costing.flops` counts them.
        flops_training: FLOPs of a clip in a training step.
    """

    trained: int
    frozen: int
    flops_forward: int
    flops_training: int


def cost_of(card: ModelCard) -> Cost:
    """Counts what a run costs; nothing is compiled."""
    side = (card.preparation or {}).get("image_size")
    return _counted(json.dumps(card.training["config"], sort_keys=True), side)


@functools.cache
def _counted(settings: str, side: int | None) -> Cost:
    program = Program(json.loads(settings), make_mesh(devices=jax.devices()[:1]))
    trained, frozen = split(program.shapes, program.labels)
    flops = (
        sum(flops_by_part(program, training=training, side=side).values())
        for training in (False, True)
    )
    return Cost(count(trained), count(frozen), *flops)
