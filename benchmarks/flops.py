"""Counts what a clip costs, from the model's sizes: FLOPs, bytes, and the time they allow.

    python benchmarks/flops.py --chip="H100 SXM" --batch=32

Prints a table in Markdown. FLOPs are those of matrix products, two for each multiply-add, as the
paper's recipe needs them: frozen matrices get no gradient, but everything above the prompts passes
one on. Bytes are the fewest: each kernel reads its inputs and writes its outputs once, products
take and give 16 bits, the residual stream has 32, and attention keeps no weights. So the time is a
lower bound, not a forecast.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chips import CHIPS, Chip

from mmadfer_jax.models.config import ModelConfig

_HALF, _FULL = 2, 4  # bytes of a product's value and of one of the residual stream


class Cost(NamedTuple):
    """What a part of the model costs.

    Attributes:
        forward: FLOPs.
        gradient: FLOPs beside them in training.
        forward_bytes: Moved through the device's memory.
        gradient_bytes: Beside them in training.
    """

    forward: float
    gradient: float = 0
    forward_bytes: float = 0
    gradient_bytes: float = 0

    @property
    def training(self) -> float:
        """FLOPs of a training step."""
        return self.forward + self.gradient

    @property
    def training_bytes(self) -> float:
        """Bytes of a training step."""
        return self.forward_bytes + self.gradient_bytes

    def seconds(self, training: bool, flops_rate: float, bandwidth: float) -> float:
        """The longer of what its FLOPs and what its bytes take."""
        flops, size = (self.training, self.training_bytes) if training else (self[0], self[2])
        return max(flops / flops_rate, size / bandwidth)


def tokens_of(model: ModelConfig, side: str) -> int:
    """Tokens of one sequence of the encoder "image" or "audio": special ones, patches, prompts."""
    encoder = model.encoders[side]
    prompts = model.prompts_of(side) * max(model.stages, 1)
    return encoder.special_tokens + encoder.num_patches + prompts


def _sequences(model: ModelConfig, side: str) -> int:
    return model.num_frames if side == "image" else 1


def _encoder(model: ModelConfig, side: str) -> dict[str, Cost]:
    c, sequences = model.encoders[side], _sequences(model, side)
    length, d, f = tokens_of(model, side), c.width, c.mlp_dim
    layers = sequences * length * c.depth  # tokens, once a layer
    patches, pixels = sequences * c.num_patches, c.patch[0] * c.patch[1] * c.channels
    half, full = _HALF * d * layers, _FULL * d * layers

    def product(inputs: int, outputs: int) -> Cost:
        flops, size = 2 * inputs * outputs * layers, _HALF * (inputs + outputs) * layers
        return Cost(flops, flops, size, size)  # frozen: the gradient of the input alone

    attention = 4 * length * d * layers  # q k^T, and weights times v
    # Reads x and a branch, writes their sum and its LayerNorm, twice a layer; for the gradient it
    # reads x and two gradients, writes their sum in both types.
    norms = Cost(0, 0, 2 * (2 * full + 2 * half), 2 * (3 * full + 2 * half))
    hidden = _HALF * f * layers
    return {
        "patches": Cost(
            2 * pixels * d * patches, 0, patches * (_FULL * pixels + (_HALF + _FULL) * d)
        ),
        "qkv": product(d, 3 * d),
        "attention": Cost(attention, 2 * attention, 4 * half, 8 * half),
        "proj": product(d, d),
        "fc1": product(d, f),
        "GELU": Cost(0, 0, 2 * hidden, 3 * hidden),
        "fc2": product(f, d),
        "LayerNorms and residuals": norms,
    }


def _fusion(model: ModelConfig) -> Cost:
    flops = size = gradient_size = 0
    for side, encoder in model.encoders.items():
        values = encoder.width * _sequences(model, side) * tokens_of(model, side) * len(model.fused)
        told = model.fusion in ("both", f"to_{side}")  # goes down and up, the other only down
        flops += (4 if told else 2) * model.bottleneck * values
        size += (3 * _FULL + 2 * _HALF if told else _FULL) * values
        gradient_size += (4 * _FULL + 6 * _HALF if told else 2 * _FULL + 2 * _HALF) * values
    return Cost(flops, 2 * flops, size, gradient_size)


def _head(model: ModelConfig) -> Cost:
    t, w, length = model.num_frames, model.temporal_width, model.num_frames + 1
    inner = model.temporal_heads * model.temporal_head_dim
    first, *others = model.encoders
    flops = 2 * (t if first == "image" else 1) * model.encoders[first].width * w
    flops += 2 * w * model.num_classes
    if others and model.image.width != model.audio.width:
        flops += 2 * model.audio.width * w
    layer = 2 * length * (4 * w * inner + 2 * w * model.temporal_mlp_dim) + 4 * length**2 * inner
    flops += model.temporal_depth * layer
    return Cost(flops, 2 * flops)


def pixels(model: ModelConfig, side: int) -> Cost:
    """The crop, resize and flip of a clip's frames, in training, of stored frames of `side`."""
    size, values = model.image_size, 3 * model.num_frames
    flops = 2 * values * (size * side * side + size * size * side)
    stored, between, seen = side * side, side * size, size * size
    return Cost(flops, 0, values * (stored + _FULL * (2 * between + seen)))


def parts(model: ModelConfig) -> dict[str, Cost]:
    """The cost of one clip by the parts of the model."""
    encoders = {
        f"{side} {name}": cost
        for side in model.encoders
        for name, cost in _encoder(model, side).items()
    }
    return {**encoders, "fusion": _fusion(model), "head": _head(model)}


def flops_a_clip(model: ModelConfig, *, training: bool) -> int:
    """FLOPs of the model's matrix products for one clip; augmentation is not among them."""
    return sum(cost.training if training else cost.forward for cost in parts(model).values())


def once_a_step(trained: int, frozen: int) -> dict[str, Cost]:
    """What a step moves whatever the batch: AdamW's state, and the frozen matrices twice."""
    return {
        "AdamW": Cost(0, 0, 0, 7 * _FULL * trained),
        "reading frozen weights": Cost(0, 0, _HALF * frozen, _HALF * frozen),
    }


def grouped(model: ModelConfig) -> dict[str, Cost]:
    """`parts` with both encoders together."""
    groups: dict[str, Cost] = {}
    for name, cost in parts(model).items():
        group = name.removeprefix("image ").removeprefix("audio ")
        total = groups.get(group, Cost(0))
        groups[group] = Cost(*(a + b for a, b in zip(total, cost, strict=True)))
    return groups


def table(model: ModelConfig, chip: Chip, batch: int, trained: int, frozen: int) -> str:
    """Markdown: a row for each part, of one clip in training, at a chip's public peaks."""
    rows = grouped(model) | {"augmentation": pixels(model, model.image_size)}
    for name, cost in once_a_step(trained, frozen).items():
        rows[f"{name}, a {batch}th of a step"] = Cost(*(value / batch for value in cost))
    lines = [
        "| part | forward, GFLOP | gradient, GFLOP | forward, MB | gradient, MB "
        f"| training on {chip.name}, ms | bound by |",
        "|---|---|---|---|---|---|---|",
    ]
    total, forward_time, training_time = Cost(0), 0.0, 0.0
    for name, cost in rows.items():
        # Augmentation multiplies in full float32.
        rate = chip.float32 if name == "augmentation" else chip.bfloat16
        seconds = cost.seconds(True, rate, chip.bandwidth)
        bound = "matrix products" if seconds == cost.training / rate else "memory"
        training_time += seconds
        if name != "augmentation":
            forward_time += cost.seconds(False, rate, chip.bandwidth)
        total = Cost(*(a + b for a, b in zip(total, cost, strict=True)))
        lines.append(_row(name, cost, seconds, bound))
    lines.append(_row("**together**", total, training_time, ""))
    flops = flops_a_clip(model, training=True)
    lines += [
        "",
        f"Training: {flops / 1e12:.3f} TFLOP a clip, no faster than {1 / training_time:.0f} clips/s"
        f" ({100 * flops / training_time / chip.bfloat16:.0f} % of that rate). Inference: "
        f"{flops_a_clip(model, training=False) / 1e12:.3f} TFLOP, {1 / forward_time:.0f} clips/s.",
    ]
    return "\n".join(lines)


def _row(name: str, cost: Cost, seconds: float, bound: str) -> str:
    flops = f"{cost.forward / 1e9:.1f} | {cost.gradient / 1e9:.1f}"
    size = f"{cost.forward_bytes / 1e6:.0f} | {cost.gradient_bytes / 1e6:.0f}"
    return f"| {name} | {flops} | {size} | {1000 * seconds:.3f} | {bound} |"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [chip.name for chip in CHIPS.values()]
    parser.add_argument("--chip", choices=names, default="H100 SXM")
    parser.add_argument("--batch", type=int, default=32, help="clips of a step (32)")
    parser.add_argument("--tflops", type=float, help="measured for bfloat16, in place of the peak")
    parser.add_argument("--bandwidth", type=float, help="measured, in GB/s, in place of the peak")
    arguments = parser.parse_args()
    chip = next(chip for chip in CHIPS.values() if chip.name == arguments.chip)
    if arguments.tflops:
        chip = chip._replace(bfloat16=arguments.tflops * 1e12)
    if arguments.bandwidth:
        chip = chip._replace(bandwidth=arguments.bandwidth * 1e9)
    from train_step import recipe

    from mmadfer_jax.costing.timing import program_of

    program = program_of(recipe())
    sizes = {"trained": 0, "frozen": 0}
    for path, x in program.shapes.items():
        sizes[program.labels[path]] += x.size
    print(table(program.model, chip, arguments.batch, **sizes))


if __name__ == "__main__":
    main()
