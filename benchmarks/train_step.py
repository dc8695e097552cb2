"""Times the training step that is trained, at the paper's size, on a synthetic batch.

    python benchmarks/train_step.py --batch=8 --dtype=bfloat16

Prints one line of JSON. Needs only jax, flax, optax, numpy and ml_collections.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
from ml_collections import ConfigDict

from configs import dfew
from mmadfer_jax.costing.machine import stamp
from mmadfer_jax.costing.timing import Training, program_of, random_params, timed
from mmadfer_jax.training.optimizer import count, split


def recipe(*, toy: bool = False, **model: Any) -> ConfigDict:
    """DFEW's config, `model` with other sizes; `toy` is so small that a test can run it."""
    config = dfew.get_config()
    if toy:
        layers = {"width": 32, "depth": 1, "heads": 2, "mlp_dim": 64}
        config.model.image.update({"shape": (32, 32), **layers})
        config.model.audio.update({"shape": (64, 128), **layers})
        config.model.update({"num_frames": 3, "stages": 1, "bottleneck": 8, "temporal_width": 16})
        config.model.update({"temporal_heads": 2, "temporal_head_dim": 8, "temporal_mlp_dim": 24})
    if depth := model.pop("depth", None):
        config.model.image.depth = config.model.audio.depth = depth
    config.model.update(model)
    return config


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    arguments = parser.parse_args()
    program, device = program_of(recipe(dtype=arguments.dtype)), jax.devices()[0]
    params = random_params(program)
    work = Training(program, arguments.batch, params)
    line = {
        "benchmark": "train_step",
        "dtype": arguments.dtype,
        **timed(work, arguments.batch, arguments.steps, arguments.warmup),
        "loss": round(float(work.metrics["loss"]), 4),
        "trained": count(split(params, program.labels)[0]),
        "parameters": count(params),
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        **stamp("jax", "jaxlib", "flax", "optax", "numpy"),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
