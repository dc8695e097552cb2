"""What an arm costs: parameters, and the FLOPs of a clip as XLA counts them."""

import functools
import json
from typing import NamedTuple

import jax

from mmadfer_jax.card import ModelCard
from mmadfer_jax.training.optimizer import count, split
from mmadfer_jax.training.program import Program
from mmadfer_jax.training.sharding import make_mesh


class Cost(NamedTuple):
    """Of a model.

    Attributes:
        trained: Parameters that train.
        frozen: Those that do not.
        flops_forward: FLOPs of a clip in evaluation.
        flops_training: FLOPs of a clip in a training step, augmentation and optimizer included.
    """

    trained: int
    frozen: int
    flops_forward: float
    flops_training: float


def cost_of(card: ModelCard) -> Cost:
    """Counts what a run costs; nothing is compiled."""
    # How it is computed must not change what is counted: the body of a loop and a kernel of cuDNN
    # count as nothing or as one, and what is computed again for the gradient is no part of a model.
    settings = card.training["config"] | {
        "compute": {"attention": "xla", "remat": "none", "layers": "loop"}
    }
    side = (card.preparation or {}).get("image_size")
    return _counted(json.dumps(settings, sort_keys=True), side)


@functools.cache
def _counted(settings: str, side: int | None) -> Cost:
    config = json.loads(settings)
    program = Program(config, make_mesh(devices=jax.devices()[:1]))
    trained, frozen = split(program.shapes, program.labels)
    batch = config["train"]["batch_size"]
    lowered = (program.lower_eval(batch, side), program.lower_train(batch, side))
    flops = [found.cost_analysis()["flops"] / batch for found in lowered]
    return Cost(count(trained), count(frozen), *flops)
