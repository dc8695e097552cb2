"""Steps of a config with random weights and a random batch, compiled and timed."""

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.optimizer import split
from mmadfer_jax.training.program import Program
from mmadfer_jax.training.sharding import make_mesh

_LONG = 10  # seconds


def program_of(config: ConfigDict, kind: type[Program] = Program) -> Program:
    """The program of a config on all devices, as if its data were DFEW's."""
    settings = json.loads(config.to_json())
    settings["model"] = ModelConfig.from_dict(settings["model"]).to_dict()
    settings["train"] |= dataclasses.asdict(Epochs(settings["train"]["epochs"], 1000))
    return kind(settings, make_mesh(**config.mesh))


def random_params(program: Program, seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters on the host in which every tensor counts, drawn fast; for times, not for answers.

    Matrices keep the size of what goes through them, scales are about 1, all else is small.
    """
    rng, params = np.random.default_rng(seed), {}
    for path, x in program.shapes.items():
        value = rng.standard_normal(x.shape, np.float32)
        if path.endswith(".kernel"):
            value /= np.prod(x.shape[:-1] if x.ndim != 3 else x.shape[1:2]) ** 0.5
        else:
            value *= 0.02
        params[path] = value + 1 if path.endswith(".scale") else value
    return params


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


def bytes_by_kind(compiled: jax.stages.Compiled) -> dict[str, int]:
    """Of the program on one device, from the compiler; outputs without those in place of inputs."""
    memory = compiled.memory_analysis()
    return {
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
    }


def compiled_bytes(compiled: jax.stages.Compiled) -> int:
    """Arguments, outputs and temporaries of the program, from the compiler."""
    return sum(bytes_by_kind(compiled).values())


def peak_bytes() -> int | None:
    """The most memory of the first device that this process has held; None where it is unknown."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def seconds_of(
    call: Callable[[], Any],
    steps: int,
    warmup: int,
    wait: Callable[[Any], Any] = jax.block_until_ready,
) -> list[float]:
    """Seconds of each call after the first ones, waiting for what it gives.

    After ten seconds three are enough.
    """
    seconds, began = [], time.perf_counter()
    for _ in range(warmup + steps):
        start = time.perf_counter()
        wait(call())
        seconds.append(time.perf_counter() - start)
        if len(seconds) >= warmup + 3 and time.perf_counter() - began > _LONG:
            break
    return seconds[warmup:]


class Training:
    """A training step, compiled, with a state and a batch.

    Attributes:
        program: Of the step.
        compiled: It.
        compile_seconds: That took.
        metrics: Of the last step taken.
    """

    def __init__(self, program: Program, batch: int, params: dict[str, np.ndarray]):
        self.program, start = program, time.perf_counter()
        self.compiled = program.lower_train(batch).compile()
        self.compile_seconds = time.perf_counter() - start
        trainable, frozen = split(params, program.labels)
        self.state, self.frozen = program.init_state(trainable), program.place_frozen(frozen)
        self.batch, self.key = synthetic_batch(program, batch), program.key(0)
        self.metrics: dict[str, jax.Array] = {}

    def step(self) -> dict[str, jax.Array]:
        """Takes a step."""
        self.state, self.metrics = self.compiled(self.state, self.frozen, self.batch, self.key)
        return self.metrics


class Inference:
    """An evaluation step, compiled, with parameters and a batch; attributes as of `Training`."""

    def __init__(self, program: Program, batch: int, params: dict[str, np.ndarray]):
        self.program, start = program, time.perf_counter()
        self.compiled = program.lower_eval(batch).compile()
        self.compile_seconds = time.perf_counter() - start
        trainable, frozen = split(params, program.labels)
        self.state, self.frozen = program.init_state(trainable), program.place_frozen(frozen)
        self.batch = synthetic_batch(program, batch)

    def step(self) -> jax.Array:
        """Computes the batch's logits."""
        return self.compiled(self.state.trainable, self.frozen, self.batch)


def timed(work: Training | Inference, batch: int, steps: int, warmup: int) -> dict[str, Any]:
    """The figures of a step."""
    median = statistics.median(seconds_of(work.step, steps, warmup))
    return {
        "batch": batch,
        "clips_per_second": round(batch / median, 3),
        "median_ms": round(1000 * median, 3),
        "compile_seconds": round(work.compile_seconds, 1),
        "peak_bytes": peak_bytes(),
        "program_bytes": compiled_bytes(work.compiled),
    }
