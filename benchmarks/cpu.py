"""Times ours beside PyTorch on a CPU, and the matrix products of the model alone.

    python benchmarks/cpu.py --batch=2 --threads=2

Each part is measured in a process of its own, one after another: a training step and a prediction
of either program, in float32 and in bfloat16, the encoders' products one by one, and training steps
whose clips are read from shards meanwhile. The paper's size. Prints one line of JSON; needs PyTorch
beside what `train_step.py` needs.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mmadfer_jax.costing.machine import stamp
from mmadfer_jax.training import host_memory

Seconds = list[float]
Part = Callable[[argparse.Namespace], Seconds]


def ours(work: str, dtype: str = "float32") -> Part:
    """Seconds of each step of `timing.Training` or `timing.Inference`."""

    def part(arguments: argparse.Namespace) -> Seconds:
        import train_step

        from mmadfer_jax.costing import timing

        program = timing.program_of(train_step.recipe(toy=arguments.toy, dtype=dtype))
        params = timing.random_params(program)
        step = getattr(timing, work)(program, arguments.batch, params).step
        return timing.seconds_of(step, arguments.steps, arguments.warmup)

    return part


def theirs(work: str, way: str = "eager") -> Part:
    """Seconds of each step of `torch_step.training` or `torch_step.inference`."""

    def part(arguments: argparse.Namespace) -> Seconds:
        import torch
        import torch_step
        import train_step

        from mmadfer_jax.costing import timing

        torch.set_num_threads(arguments.threads)
        model = timing.program_of(train_step.recipe(toy=arguments.toy, dtype="float32")).model
        step = getattr(torch_step, work)(model, arguments.batch, way)
        return timing.seconds_of(step, arguments.steps, arguments.warmup)

    return part


def products(arguments: argparse.Namespace) -> Seconds:
    """Seconds of all products of the encoders' layers, forward and of the gradients in training.

    Each is timed by itself, through XLA, and counted as often as a step of each needs it; without
    patches, fusion and head, which are a thirtieth.

    Returns:
        Of a prediction and of a training step.
    """
    import flops
    import jax
    import jax.numpy as jnp
    import train_step

    from mmadfer_jax.costing import timing

    model = timing.program_of(train_step.recipe(toy=arguments.toy, dtype="float32")).model
    forward, gradient = 0.0, 0.0

    def seconds(first: tuple[int, ...], second: tuple[int, ...]) -> float:
        a, b, multiply = jnp.ones(first), jnp.ones(second), jax.jit(jnp.matmul)
        times = timing.seconds_of(lambda: multiply(a, b), arguments.steps, arguments.warmup)
        return statistics.median(times)

    for side, count in (("image", model.num_frames), ("audio", 1)):
        c, length = getattr(model, side), flops.tokens_of(model, side)
        n, d, f = arguments.batch * count, c.width, c.mlp_dim
        for inputs, outputs, times in ((d, d, 4), (d, f, 1), (f, d, 1)):
            forward += c.depth * times * seconds((n * length, inputs), (inputs, outputs))
            gradient += c.depth * times * seconds((n * length, outputs), (outputs, inputs))
        heads = (n, c.heads)
        logits = seconds((*heads, length, d // c.heads), (*heads, d // c.heads, length))
        values = seconds((*heads, length, length), (*heads, length, d // c.heads))
        forward += c.depth * (logits + values)
        # Of the weights; of v, q and k.
        gradient += c.depth * (logits + 3 * values)
    return [forward, forward + gradient]


def from_shards(arguments: argparse.Namespace) -> Seconds:
    """Seconds of each training step that waits for its batch from shards, as `main.py` reads it."""
    import gpu_loop
    import train_step

    from mmadfer_jax.clips.reading import Reading
    from mmadfer_jax.costing import timing
    from mmadfer_jax.training import input as data

    program = timing.program_of(train_step.recipe(toy=arguments.toy, dtype="float32"))
    work = timing.Training(program, arguments.batch, timing.random_params(program))
    model, steps = program.model, arguments.warmup + arguments.steps
    clips = arguments.batch * steps
    rows = data.local_rows(program.batch_sharding, arguments.batch)
    with tempfile.TemporaryDirectory() as folder:
        source = gpu_loop.write_shards(
            Path(folder), clips, model.image_size, 2 * model.num_frames, model.audio.shape[0]
        )
        reading = Reading(model.num_frames, model.audio.shape[0])
        batches = data.train_batches(
            source, reading, batch_size=arguments.batch, seed=0, epochs=1, rows=rows
        )

        def step() -> object:
            batch = next(batches)
            work.batch = data.to_global(batch, program.batch_sharding, arguments.batch, rows)
            return work.step()

        with contextlib.closing(batches):
            return timing.seconds_of(step, arguments.steps, arguments.warmup)


PARTS: dict[str, Part] = {
    "ours_training": ours("Training"),
    "torch_training": theirs("training"),
    "ours_prediction": ours("Inference"),
    "torch_prediction": theirs("inference"),
    "ours_training_bfloat16": ours("Training", "bfloat16"),
    "torch_training_bfloat16": theirs("training", "bfloat16"),
    "ours_prediction_bfloat16": ours("Inference", "bfloat16"),
    "torch_prediction_bfloat16": theirs("inference", "bfloat16"),
    "products": products,
    "shards": from_shards,
    # Without what `main.py` does for its memory.
    "ours_training_given_back": ours("Training"),
    "ours_training_bfloat16_given_back": ours("Training", "bfloat16"),
}


# These keep memory as `main.py` does.
KEEPING = ("ours_training", "ours_training_bfloat16", "shards")


def measure() -> dict[str, float]:
    """Runs each part in a child process, one after another."""
    found = {part: child(part) for part in PARTS}
    prediction, training = found.pop("products")
    figures = {f"{part}_seconds": round(statistics.median(s), 6) for part, s in found.items()}
    figures |= {
        "products_training_seconds": round(training, 6),
        "products_prediction_seconds": round(prediction, 6),
    }

    def ratio(part: str, other: str) -> float:
        return round(figures[f"{part}_seconds"] / figures[f"{other}_seconds"], 2)

    for work in ("training", "prediction"):
        for way in ("", "_bfloat16"):
            figures[f"{work}{way}_to_torch"] = ratio(f"ours_{work}{way}", f"torch_{work}{way}")
        figures[f"{work}_in_bfloat16_to_torch"] = ratio(f"ours_{work}_bfloat16", f"torch_{work}")
        figures[f"{work}_to_products"] = ratio(f"ours_{work}", f"products_{work}")
    # The rate of training from shards, as a share of that on one batch which is there.
    share = figures["ours_training_seconds"] / figures["shards_seconds"]
    figures["share_of_synthetic"] = round(share, 3)
    return figures


def child(part: str) -> Seconds:
    """Measures a part in a process of its own."""
    done = subprocess.run(
        [sys.executable, *sys.argv, f"--part={part}"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2, help="of each part; at most the cores")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--toy", action="store_true", help="a tiny model, to rehearse")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        # XLA takes as many threads as the process has cores.
        cores = sorted(os.sched_getaffinity(0))[: arguments.threads]
        os.sched_setaffinity(0, cores)
        if arguments.part in KEEPING:
            host_memory.keep_freed()
        print(json.dumps(PARTS[arguments.part](arguments)))
        return
    figures = measure()
    settings = {name: x for name, x in vars(arguments).items() if name != "part"}
    packages = [p for p in ("jax", "jaxlib", "torch") if importlib.util.find_spec(p)]
    print(json.dumps({"benchmark": "cpu", **settings, **figures, **stamp(*packages)}))


if __name__ == "__main__":
    main()
