"""Times the training step that is trained, at the paper's size, on a synthetic batch.

    python benchmarks/train_step.py --batch=8 --dtype=bfloat16

Prints one line of JSON. Needs only jax, flax, optax, numpy and ml_collections.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import jax
import numpy as np
from machine import stamp
from ml_collections import ConfigDict

from configs import dfew
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import init_params
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.optimizer import count, split
from mmadfer_jax.training.program import Program
from mmadfer_jax.training.sharding import make_mesh


def program_of(config: ConfigDict) -> Program:
    """The program of a config on all devices, as if its data were DFEW's."""
    settings = json.loads(config.to_json())
    settings["model"] = ModelConfig.from_dict(settings["model"]).to_dict()
    settings["train"] |= dataclasses.asdict(Epochs(settings["train"]["epochs"], 1000))
    return Program(settings, make_mesh(**config.mesh))


def synthetic_batch(program: Program, size: int) -> dict[str, jax.Array]:
    """A random batch on the mesh, frames of the model's side."""
    rng, batch = np.random.default_rng(0), {}
    for name, x in program.abstract_batch(size).items():
        if name == "spectrogram":
            value = rng.standard_normal(x.shape, np.float32)
        else:
            most = {"frames": 256, "label": program.model.num_classes, "mask": 2}[name]
            value = rng.integers(0, most, x.shape).astype(x.dtype)
        batch[name] = jax.device_put(value, x.sharding)
    return batch


def compiled_bytes(compiled: jax.stages.Compiled) -> int:
    """Arguments, outputs and temporaries of the program, from the compiler."""
    memory = compiled.memory_analysis()
    parts = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return sum(getattr(memory, part) for part in parts) - memory.alias_size_in_bytes


def measure(config: ConfigDict, batch: int, steps: int, warmup: int) -> dict[str, object]:
    """Compiles and times the step; the numbers of the JSON line."""
    program = program_of(config)
    start = time.perf_counter()
    compiled = program.lower_train(batch).compile()
    compile_seconds = time.perf_counter() - start
    params = {path: np.asarray(x) for path, x in init_params(program.model, config.seed).items()}
    trainable, frozen = split(params, program.labels)
    state, placed = program.init_state(trainable), program.place_frozen(frozen)
    data, key, seconds = synthetic_batch(program, batch), program.key(config.seed), []
    for _ in range(warmup + steps):
        start = time.perf_counter()
        state, metrics = compiled(state, placed, data, key)
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
    config, device = dfew.get_config(), jax.devices()[0]
    config.model.dtype = arguments.dtype
    line = {
        "benchmark": "train_step",
        "batch": arguments.batch,
        "dtype": arguments.dtype,
        **measure(config, arguments.batch, arguments.steps, arguments.warmup),
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        **stamp("jax", "jaxlib", "flax", "optax", "numpy"),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
