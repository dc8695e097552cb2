"""Times a training step of the paper's model at full size on a synthetic batch.

    python benchmarks/train_step.py --batch=8 --dtype=bfloat16

Prints one line of JSON. Needs only jax, flax, optax, numpy and ml_collections.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import numpy as np

from configs import dfew
from mmadfer_jax.models.mma_dfer import ModelConfig
from mmadfer_jax.models.params import init_params
from mmadfer_jax.training.augment import Augmentation, augment
from mmadfer_jax.training.optimizer import adamw, assign, count, epoch_cosine, split
from mmadfer_jax.training.state import make_train_step, new_state


def synthetic_batch(model: ModelConfig, batch: int, side: int) -> dict[str, jax.Array]:
    """A random batch, frames uint8 [B, T, side, side, 3], on the device."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (batch, model.num_frames, side, side, 3), np.uint8)
    spectrogram = rng.standard_normal((batch, *model.spectrogram_shape), np.float32)
    label = rng.integers(0, model.num_classes, batch, np.int32)
    return jax.device_put({"frames": frames, "spectrogram": spectrogram, "label": label})


def compiled_bytes(compiled: jax.stages.Compiled) -> int:
    """Arguments, outputs and temporaries of the program, from the compiler."""
    memory = compiled.memory_analysis()
    parts = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return sum(getattr(memory, part) for part in parts) - memory.alias_size_in_bytes


def measure(batch: int, dtype: str, steps: int, warmup: int) -> dict[str, object]:
    """Builds, compiles and times the step; the numbers of the JSON line."""
    config = dfew.get_config()
    config.model.dtype = dtype
    if dtype == "float32":
        jax.config.update("jax_default_matmul_precision", "highest")
    sizes = {name: value for name, value in config.model.items() if value is not None}
    model = ModelConfig.from_dict(sizes)
    params = init_params(model, config.seed)
    labels = assign(params, config.freeze)
    trainable, frozen = split(params, labels)
    frozen = {path: x.astype(dtype) for path, x in frozen.items()}
    recipe = config.train
    optimizer = adamw(
        epoch_cosine(recipe.learning_rate, recipe.epochs, 1000),
        weight_decay=recipe.weight_decay, b1=recipe.b1, b2=recipe.b2, eps=recipe.eps,
    )  # fmt: skip
    state = new_state(trainable, optimizer)
    data = synthetic_batch(model, batch, model.image_size)
    key = jax.random.key(config.seed)

    def prepare(frames: jax.Array, key: jax.Array) -> jax.Array:
        return augment(frames, key, model.image_size, Augmentation())

    step = jax.jit(make_train_step(model, optimizer, prepare), donate_argnums=0)
    start = time.perf_counter()
    compiled = step.lower(state, frozen, data, key).compile()
    compile_seconds = time.perf_counter() - start
    seconds = []
    for _ in range(warmup + steps):
        start = time.perf_counter()
        state, metrics = compiled(state, frozen, data, key)
        jax.block_until_ready(metrics)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[warmup:])
    stats = jax.devices()[0].memory_stats() or {}
    return {
        "clips_per_second": round(batch / median, 3),
        "median_ms": round(1000 * median, 3),
        "compile_seconds": round(compile_seconds, 1),
        "peak_bytes": stats.get("peak_bytes_in_use"),
        "program_bytes": compiled_bytes(compiled),
        "loss": round(float(metrics["loss"]), 4),
        "trained": count(trainable),
        "parameters": count(params),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    arguments = parser.parse_args()
    device = jax.devices()[0]
    line = {
        "benchmark": "train_step",
        "batch": arguments.batch,
        "dtype": arguments.dtype,
        **measure(arguments.batch, arguments.dtype, arguments.steps, arguments.warmup),
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "versions": {n: version(n) for n in ("jax", "jaxlib", "flax", "optax", "numpy")}
        | {"python": platform.python_version()},
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
