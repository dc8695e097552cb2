"""Parts of `gpu.py`: what the device can do, our steps, PyTorch's, and flags of the compiler."""

import functools
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from chips import chip_of
from flops import flops_a_clip, tokens_of
from ml_collections import ConfigDict
from train_step import recipe

from mmadfer_jax.costing.timing import (
    Inference,
    Training,
    compiled_bytes,
    program_of,
    random_params,
    seconds_of,
    timed,
)
from mmadfer_jax.models.compute import REMATS
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.training.optimizer import FROZEN, TRAINED
from mmadfer_jax.training.program import Program

Line = dict[str, Any]
Items = dict[str, Callable[[], Line]]

DEPTH = 3  # layers of each encoder where only ratios are looked at: a quarter of the compile time


def batches(toy: bool) -> tuple[int, ...]:
    """The batch sizes at which steps are timed."""
    return (2, 4) if toy else (8, 32, 128)


# What the device can do.


def _repeated(call: Callable[[], jax.Array], times: int) -> float:
    """Seconds of one of many calls, which wait in the device's queue."""

    def run() -> jax.Array:
        for _ in range(times - 1):
            call()
        return call()

    return float(np.median(seconds_of(run, steps=5, warmup=1))) / times


def _random(*shape: int, dtype: Any = jnp.bfloat16, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, jnp.float32).astype(dtype)


def product_rate(
    rows: int, inner: int, columns: int, dtype: Any, multiply: Callable = jnp.matmul
) -> Line:
    """FLOP/s of a matrix product of random values."""
    a, b = _random(rows, inner, dtype=dtype), _random(inner, columns, dtype=dtype, seed=1)
    seconds = _repeated(functools.partial(jax.jit(multiply), a, b), 10)
    shape = f"[{rows}, {inner}] x [{inner}, {columns}]"
    rate = 2 * rows * inner * columns / seconds
    return {"shape": shape, "ms": round(1000 * seconds, 4), "tflops": rate / 1e12}


def _square(toy: bool) -> int:
    return 256 if toy else 8192


def measured_ceiling(toy: bool) -> float:
    """FLOP/s of a large product in bfloat16, by the device that runs the rest."""
    return product_rate(*3 * (_square(toy),), jnp.bfloat16)["tflops"] * 1e12


def _copy(toy: bool) -> Line:
    x = jnp.ones(2**18 if toy else 2**29, jnp.float32)
    seconds = _repeated(functools.partial(jax.jit(lambda x: x + 1), x), 10)
    return {"bytes": 2 * x.nbytes, "gigabytes_per_second": 2 * x.nbytes / seconds / 1e9}


def _float8(convert: bool) -> Callable[[jax.Array, jax.Array], jax.Array]:
    def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
        if convert:  # the pattern in which XLA sees a product of 8 bits
            return a.astype(jnp.bfloat16) @ b.astype(jnp.bfloat16)
        return jax.lax.dot(a, b, preferred_element_type=jnp.bfloat16)

    return multiply


def ceiling(toy: bool) -> Items:
    """Matrix products, large and of the model's shapes, and memory."""
    model = program_of(recipe(toy=toy)).model
    n, image = _square(toy), model.image
    rows = batches(toy)[1] * model.num_frames * tokens_of(model, "image")
    d, f, bf16, f8 = image.width, image.mlp_dim, jnp.bfloat16, jnp.float8_e4m3fn
    exact = functools.partial(jnp.matmul, precision="highest")
    tf32 = functools.partial(jnp.matmul, precision="tensorfloat32")

    def of(*arguments: Any) -> Callable[[], Line]:
        return lambda: product_rate(*arguments)

    return {
        "bfloat16": of(n, n, n, bf16),
        "memory": lambda: _copy(toy),
        "fc1": of(rows, d, f, bf16),
        "fc2": of(rows, f, d, bf16),
        "qkv as one": of(rows, d, 3 * d, bf16),
        "proj, or q alone": of(rows, d, d, bf16),
        "fusion down": of(rows, d, model.bottleneck, bf16),
        "float32": of(n, n, n, jnp.float32, exact),
        "TF32": of(n, n, n, jnp.float32, tf32),
        "float8": of(n, n, n, f8, _float8(convert=False)),
        "float8, converted": of(n, n, n, f8, _float8(convert=True)),
        "float8, fc1": of(rows, d, f, f8, _float8(convert=True)),
    }


# Our steps.


def _cached() -> int:
    """Programs in the compile cache."""
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return len(list(Path(folder).glob("*-cache"))) if folder else 0


def step_line(work: Training | Inference, batch: int, ceiling_rate: float, steps: int) -> Line:
    """Times, memory and MFU of a step."""
    line = timed(work, batch, steps=steps, warmup=3)
    model, kind = work.program.model, jax.devices()[0].device_kind
    training = isinstance(work, Training)
    rate = flops_a_clip(model, training=training) * line["clips_per_second"]
    chip, counted = chip_of(kind), work.compiled.cost_analysis() or {}
    return line | {
        "dtype": model.dtype,
        "attention": work.program.compute.attention,
        "remat": work.program.compute.remat,
        "tflop_a_clip": flops_a_clip(model, training=training) / 1e12,
        "xla_tflop_a_clip": counted.get("flops", 0) / batch / 1e12,
        "tflops": rate / 1e12,
        "mfu_of_measured_ceiling": rate / ceiling_rate,
        "mfu_of_public_peak": rate / chip.bfloat16 if chip else None,
        "device": kind,
    }


class DoesNotFitError(Exception):
    """A program needs more memory than the device has."""


def _room() -> float:
    """Bytes that a process can have of the first device's memory."""
    return (jax.devices()[0].memory_stats() or {}).get("bytes_limit", np.inf)


def training_that_fits(
    config: ConfigDict, batch: int, params: dict[str, np.ndarray], needs: dict[str, float]
) -> tuple[Training, list[str]]:
    """A training step with the least rematerialisation with which it fits the device.

    Args:
        config: Of the program; its `compute.remat` is set.
        batch: Clips.
        params: Of the model.
        needs: Bytes a clip by rematerialisation, as far as known; found ones are put in.

    Returns:
        The step, and what was tried or known not to fit.

    Raises:
        DoesNotFitError: It does not in any way.
    """
    room, passed = _room(), []
    for remat in REMATS:
        config.compute.remat = remat
        if needs.get(remat, 0) * batch > room:
            passed.append(f"{remat}: would need {needs[remat] * batch / 1e9:.0f} GB")
            continue
        try:
            work = Training(program_of(config), batch, params)
            needs[remat] = compiled_bytes(work.compiled) / batch
            if needs[remat] * batch > room:
                raise MemoryError(f"needs {needs[remat] * batch / 1e9:.0f} GB")
            jax.block_until_ready(work.step())
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if isinstance(error, jax.errors.JaxRuntimeError) and "EXHAUSTED" not in str(error):
                raise
            passed.append(f"{remat}: {str(error)[:100]}")
            needs[remat] = max(needs.get(remat, 0), room / batch * 1.001)
            work = None
            continue
        return work, passed
    raise DoesNotFitError(f"batch {batch} fits in no way: {'; '.join(passed)}")


def ours(toy: bool) -> Items:
    """Training and inference at three batch sizes, the check of gradients, and a profile."""
    config = recipe(toy=toy)
    program = program_of(config)
    params, rate, steps = random_params(program), measured_ceiling(toy), 5 if toy else 20
    needs: dict[str, float] = {}
    small: list[Training] = []  # the step at the smallest batch, while it is of use

    def train(batch: int) -> Line:
        before = _cached()
        work, passed = training_that_fits(config, batch, params, needs)
        line = {"compiled_anew": _cached() > before, "did_not_fit": passed}
        line |= step_line(work, batch, rate, steps)
        if batch == batches(toy)[0]:
            small.append(work)
        return line | {"loss": float(work.metrics["loss"])}

    def infer(batch: int) -> Line:
        before = _cached()
        work = Inference(program, batch, params)
        return {"compiled_anew": _cached() > before, **step_line(work, batch, rate, steps)}

    def check() -> Line:
        return check_frozen(small[0].compiled.as_text(), program)

    def trace() -> Line:
        work = small.pop()
        line = profile(lambda: jax.block_until_ready([work.step() for _ in range(3)]), steps=3)
        return {"batch": batches(toy)[0], **line}

    items: Items = {f"training {batch}": functools.partial(train, batch) for batch in batches(toy)}
    first, *others = items
    items = {
        first: items[first],
        "no gradients of frozen weights": check,
        "profile": trace,
        **{name: items[name] for name in others},
    }
    return items | {f"inference {batch}": functools.partial(infer, batch) for batch in batches(toy)}


_INSTRUCTION = re.compile(r"= \(?\w+\[([\d,]*)\]\S* (?:.*? )?(dot|convolution|custom-call)\(")
_PRODUCT = re.compile(r'custom_call_target="[^"]*(?:cublas|matmul|gemm)', re.IGNORECASE)


def products(text: str) -> Counter[tuple[int, ...]]:
    """Shapes that matrix products and convolutions of a compiled program give.

    Args:
        text: Of the program, as `Compiled.as_text` writes it.

    Returns:
        How often each shape is met.
    """
    found: Counter[tuple[int, ...]] = Counter()
    for line in text.splitlines():
        match = _INSTRUCTION.search(line)
        if match and (match[2] != "custom-call" or _PRODUCT.search(line)):
            found[tuple(int(n) for n in match[1].split(",") if n)] += 1
    return found


def _matrices(shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    """Shapes in which a product may give the gradient of a kernel.

    Kernels are [in, out], that of patches [rows, columns, channels, out], and that of q, k and v
    [3, in, out], whose three may come apart or together.
    """
    *before, inputs, outputs = shape
    pairs = {(int(np.prod([*before, inputs])), outputs)}
    if len(shape) == 3:
        pairs = {(inputs, outputs), (inputs, before[0] * outputs)}
    return {tuple(sorted(pair)) for pair in pairs}


def check_frozen(text: str, program: Program) -> Line:
    """That no product of a compiled training step has the shape of a frozen kernel's gradient.

    Shapes that a trained kernel has too are left out; those of trained kernels have to be found, or
    else the check would see nothing.

    Raises:
        AssertionError: One is found, or none of the trained ones.
    """
    wanted: dict[str, set[tuple[int, ...]]] = {FROZEN: set(), TRAINED: set()}
    for path, x in program.shapes.items():
        if path.endswith("kernel"):
            wanted[program.labels[path]] |= _matrices(x.shape)
    wanted[FROZEN] -= wanted[TRAINED]
    found: dict[str, Counter] = {FROZEN: Counter(), TRAINED: Counter()}
    for shape, times in products(text).items():
        pair = tuple(sorted(shape[-2:]))
        for label, shapes in wanted.items():
            if len(pair) == 2 and pair in shapes:
                found[label][pair] += times
    assert not found[FROZEN], f"gradients of frozen weights: {dict(found['frozen'])}"
    assert found[TRAINED], "no gradients were found, not even those of trained weights"
    return {
        "products": sum(products(text).values()),
        "gradients_of_trained": sum(found[TRAINED].values()),
        "gradients_of_frozen": 0,
        "shapes_looked_for": sorted(map(list, wanted[FROZEN])),
    }


# A profile.


def profile(run: Callable[[], Any], steps: int) -> Line:
    """Runs something under the profiler: how busy the device was, and with what.

    Args:
        run: Waits for the device before it returns.
        steps: It takes.

    Returns:
        "device_busy", the share of the time between the first and the last kernel in which one ran;
        "kernels", milliseconds a step by name, the longest first.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (path,) = Path(folder).rglob("*.xplane.pb")
        events = list(_kernels(jax.profiler.ProfileData.from_file(str(path))))
    if not events:
        raise RuntimeError("the profiler saw no kernels")
    names: Counter[str] = Counter()
    for _, duration, name in events:
        names[re.sub(r"[\d_.]+$", "", name)[:80]] += duration
    busy, span = _union((start, start + duration) for start, duration, _ in events)
    return {
        "device_busy": busy / span,
        "span_ms_a_step": span / 1e6 / steps,
        "kernels_a_step": len(events) / steps,
        "kernels": {name: ns / 1e6 / steps for name, ns in names.most_common(30)},
    }


def _kernels(data: Any) -> Iterable[tuple[float, float, str]]:
    """Start, duration in ns and name of what ran on the first GPU; without one, on the CPU."""
    planes = {plane.name: plane for plane in data.planes}
    gpu = planes.get("/device:GPU:0")
    plane, mark = (gpu, "Stream") if gpu else (planes.get("/host:CPU"), "XLA")
    for line in plane.lines if plane else ():
        if mark in line.name:
            for event in line.events:
                yield event.start_ns, event.duration_ns, event.name


def _union(intervals: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Length that intervals cover, and length from the first to the last."""
    ordered = sorted(intervals)
    covered, end = 0.0, ordered[0][0]
    for first, last in ordered:
        covered += max(last - max(first, end), 0.0)
        end = max(end, last)
    return covered, end - ordered[0][0]


# PyTorch.


def pytorch(toy: bool) -> Items:
    """The authors' way and the tuned one, at the batch sizes of ours."""
    import torch_step  # raises where PyTorch is not there

    model = program_of(recipe(toy=toy)).model
    items: Items = {}
    for way in ("eager", "tuned"):
        for batch in batches(toy)[:1] if toy else batches(toy):
            items[f"{way}, training {batch}"] = _torch(torch_step.training, model, batch, way)
    for way in ("eager",) if toy else ("tuned", "eager"):
        for batch in batches(toy)[1:2]:
            items[f"{way}, inference {batch}"] = _torch(torch_step.inference, model, batch, way)
    return items


def more_pytorch(toy: bool) -> Items:
    """Tuned with the whole model compiled, which takes minutes, and eager with TF32."""
    import torch_step

    model, batch = program_of(recipe(toy=toy)).model, batches(toy)[1]
    ways = [("tuned, whole", batch), ("eager TF32", batch), ("eager", 2 * batch)]
    return {
        f"{way}, training {n}": _torch(torch_step.training, model, n, way)
        for way, n in (ways[1:] if toy else ways)
    }


def _torch(make: Callable, model: ModelConfig, batch: int, way: str) -> Callable[[], Line]:
    import torch_step

    def run() -> Line:
        line = torch_step.measure(
            lambda: make(model, batch, way), batch, steps=10, warmup=2 if way == "eager" else 4
        )
        rate = flops_a_clip(model, training=make is torch_step.training)
        return line | {
            "way": torch_step.WAYS[way],
            "tflops": rate * line["clips_per_second"] / 1e12,
        }

    return run


# Flags of the compiler.


def flags(toy: bool) -> Items:
    """A training step of fewer layers with the process's XLA_FLAGS; a rehearsal only infers."""
    program = program_of(recipe(toy=toy) if toy else recipe(depth=DEPTH))

    def run() -> Line:
        batch, kind = batches(toy)[1], Inference if toy else Training
        work = kind(program, batch, random_params(program))
        line = timed(work, batch, steps=5 if toy else 20, warmup=3)
        return {"depth": program.model.depth, "flags": os.environ.get("XLA_FLAGS", ""), **line}

    return {"training": run}
