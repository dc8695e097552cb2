"""Four training steps on meshes of eight CPU devices, as a process of its own.

The other tests have four devices, and the number cannot change once jax has begun.

    python -m tests.meshes OUT            # what `tests/training/test_mesh.py` reads
    python -m tests.meshes --large        # ViT-L twice, fsdp=8 against one device; 20 GB of memory
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import abstract_params
from mmadfer_jax.training.optimizer import split
from mmadfer_jax.training.sharding import bytes_held, make_mesh
from tests.conftest import SMALL
from tests.golden_weights import random_params
from tests.programs import program_of
from tests.sizes import changed

# As in ViT-L and ViT-B side by side: unlike encoders, sixteen heads and eight.
MODEL = changed(
    SMALL,
    image_width=64,
    image_heads=16,
    image_mlp_dim=96,
    audio_width=32,
    audio_heads=8,
    audio_mlp_dim=80,
    temporal_depth=1,
)
# Whole layers and all 24 of them, with few tokens.
LARGE = changed(
    SMALL,
    num_frames=2,
    width=1024,
    depth=24,
    heads=16,
    mlp_dim=4096,
    image_shape=64,
    audio_shape=(64, 128),
    audio_patch=16,
    audio_stride=16,
)
LAYOUTS = {
    "one device": {},
    "data": {"data": 8},
    "fsdp": {"data": 1, "fsdp": 8},
    "all": {"data": 2, "fsdp": 2, "tensor": 2},
    "all, scanned": {"data": 2, "fsdp": 2, "tensor": 2},  # one layer compiled for both
}
BATCH, STEPS = 8, 4
_COLLECTIVE = re.compile(
    r"= (.+?) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
    r'.*op_name="([^"]*)"'
)


def parameters() -> dict[str, np.ndarray]:
    """Of the model, none zero: gates at their start would hide what they let through."""
    rng = np.random.default_rng(0)
    shapes = abstract_params(MODEL)
    params = {path: 0.2 * rng.standard_normal(x.shape, np.float32) for path, x in shapes.items()}
    return {path: x + path.endswith(".scale") for path, x in params.items()}


def four_steps(
    model: ModelConfig, params: dict[str, np.ndarray], axes: dict[str, int], layers: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Trains four steps on a mesh, on one device where there are no axes.

    Returns:
        What was met on the way, and arrays: "grad/PATH" of the first step, "param/PATH" at the end.
    """
    mesh = make_mesh(**axes) if axes else make_mesh(devices=jax.devices()[:1])
    program = program_of(model, mesh, change=lambda s: s["compute"].update(layers=layers))
    trainable, frozen = split(params, program.labels)
    state, frozen, key = program.init_state(trainable), program.place_frozen(frozen), program.key(0)
    compiled = program.lower_train(BATCH).compile()
    first, deleted, metrics, grads = mesh.devices.flat[0], [], [], {}
    for seed in range(STEPS):
        rng = np.random.default_rng(seed)
        side, classes = model.image_size, model.num_classes
        batch = {
            "frames": rng.integers(0, 256, (BATCH, model.num_frames, side, side, 3), np.uint8),
            "spectrogram": rng.standard_normal((BATCH, *model.audio.shape), np.float32),
            "label": rng.integers(0, classes, BATCH, np.int32),
            "mask": np.ones(BATCH, np.bool_),
        }
        before = jax.tree.leaves(state)
        state, of_step = compiled(state, frozen, jax.device_put(batch, program.batch_sharding), key)
        metrics.append({name: float(x) for name, x in of_step.items()})
        deleted.append(all(x.is_deleted() for x in before))
        if not grads:  # AdamW's first moment was zero
            b1 = program.config["train"]["b1"]
            grads = {path: np.asarray(x) / (1 - b1) for path, x in state.opt_state[0].mu.items()}
    arrays = [x for x in jax.tree.leaves((state, frozen))]
    here = [
        x.data.nbytes for array in arrays for x in array.addressable_shards if x.device == first
    ]
    facts = {
        "metrics": metrics,
        "deleted": deleted,
        "bytes": sum(here),
        "said": bytes_held((program.abstract_state(), program.abstract_frozen())),
        "aliased": compiled.memory_analysis().alias_size_in_bytes,
        "state_bytes": bytes_held(program.abstract_state())[0],
        "frozen_shards": {
            path: [list(x.addressable_shards[0].data.shape), list(x.shape)]
            for path, x in frozen.items()
        },
        "collectives": [
            (kind, "transpose" in name, [_sizes(x) for x in re.findall(r"\[([\d,]*)\]", shape)])
            for shape, kind, name in _COLLECTIVE.findall(compiled.as_text())
        ],
    }
    final = {f"param/{path}": np.asarray(x) for path, x in state.trainable.items()}
    return facts, {f"grad/{path}": x for path, x in grads.items()} | final


def _sizes(shape: str) -> list[int]:
    return [int(n) for n in shape.split(",") if n]


def main(out: Path) -> None:
    """Writes facts.json, and LAYOUT.npz for every layout."""
    facts = {}
    for name, axes in LAYOUTS.items():
        layers = "scan" if "scanned" in name else "loop"
        facts[name], arrays = four_steps(MODEL, parameters(), axes, layers)
        np.savez(out / f"{name}.npz", **arrays)
    (out / "facts.json").write_text(json.dumps(facts))


def compare_large() -> dict[str, float]:
    """The largest differences between ViT-L twice on eight devices and on one."""
    params = random_params(LARGE)
    alone, one = four_steps(LARGE, params, {}, "scan")
    together, eight = four_steps(LARGE, params, LAYOUTS["fsdp"], "scan")
    pairs = zip(alone["metrics"], together["metrics"], strict=True)
    found = {
        "loss, of itself": max(abs(b["loss"] / a["loss"] - 1) for a, b in pairs),
        "bytes held by one device": alone["bytes"],
        "bytes held by each of eight": together["bytes"],
    }
    count = sum(value.size for name, value in one.items() if name.startswith("param/"))
    for name, value in one.items():
        apart = np.abs(eight[name] - value)
        kind, far = name.partition("/")[0], float(apart.max())
        found[kind] = max(found.get(kind, 0), far)
        if kind == "grad":
            share = far / max(float(np.abs(value).max()), 1e-3)
            found["grad, of the largest"] = max(found.get("grad, of the largest", 0), share)
        else:
            share = float((apart > 1e-5).sum()) / count
            found["param, share beyond 1e-5"] = found.get("param, share beyond 1e-5", 0) + share
    return found


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    if sys.argv[1:] == ["--large"]:
        print(json.dumps(compare_large(), indent=2))
    else:
        main(Path(sys.argv[1]))
