"""Meshes of eight devices against one; `tests/meshes.py` computes them in a process of its own."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.meshes import LAYOUTS, MODEL, STEPS

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = [name for name in LAYOUTS if name != "one device"]
MATRIX = re.compile(r".*_encoder\.blocks\.\d+\..*\.kernel")


class Run(NamedTuple):
    """What a mesh gave, see `meshes.four_steps`."""

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    out = tmp_path_factory.mktemp("meshes")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    subprocess.run(
        [sys.executable, "-m", "tests.meshes", str(out)], cwd=ROOT, env=environment, check=True
    )
    facts = json.loads((out / "facts.json").read_text())
    return {name: Run(facts[name], dict(np.load(out / f"{name}.npz"))) for name in LAYOUTS}


@pytest.mark.parametrize("layout", SHARED)
def test_eight_devices_equal_one(runs, layout):
    """Augmentation, drop path, gradients and AdamW: draws and sums do not depend on the layout."""
    one, shared = runs["one device"], runs[layout]
    assert len(one.facts["metrics"]) == STEPS
    for alone, together in zip(one.facts["metrics"], shared.facts["metrics"], strict=True):
        for name in ("loss", "grad_norm"):  # measured: 4e-7
            assert together[name] == pytest.approx(alone[name], rel=1e-5)
    for name, value in one.arrays.items():  # measured: gradients 2.4e-7, parameters 9.5e-7
        np.testing.assert_allclose(shared.arrays[name], value, rtol=0, atol=1e-5, err_msg=name)
        if name.startswith("grad/"):  # measured: 5.5e-6 of the largest value
            far = np.abs(shared.arrays[name] - value).max()
            assert far <= 1e-5 * max(np.abs(value).max(), 1e-3), name


def test_what_is_compared_is_not_zero(runs):
    """All gradients but those of unused norms, and of prompts renewed after the last layer."""
    zero = [
        name
        for name, value in runs["one device"].arrays.items()
        if name.startswith("grad/") and np.abs(value).max() < 1e-6
    ]
    assert zero
    assert all(re.fullmatch(r".*_norm2\..*|.*\.progressive_prompts\.1", name) for name in zero)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_state_is_donated(runs, layout):
    facts = runs[layout].facts
    assert facts["deleted"] == [True] * STEPS
    assert facts["aliased"] == facts["state_bytes"]


@pytest.mark.parametrize(
    ("layout", "parts"),
    [("one device", 1), ("data", 1), ("fsdp", 8), ("all", 4), ("all, scanned", 4)],
)
def test_frozen_matrices_are_truly_split(runs, layout, parts):
    """By the arrays that the first device holds; what is said at start is what is held."""
    facts = runs[layout].facts
    matrices = {p: sizes for p, sizes in facts["frozen_shards"].items() if MATRIX.fullmatch(p)}
    assert len(matrices) == 2 * MODEL.depth * 4
    for path, (shard, whole) in matrices.items():
        assert math.prod(shard) * parts == math.prod(whole), path
    held, whole = facts["said"]
    assert held == facts["bytes"]
    saved = sum(4 * math.prod(whole) for _, whole in matrices.values()) * (1 - 1 / parts)
    biases = whole - held - saved  # of fc1 and qkv, which only `tensor` splits
    assert 0 <= biases < 0.01 * whole
    assert (biases > 0) == layout.startswith("all")


@pytest.mark.parametrize("layout", SHARED)
def test_devices_exchange_weights_and_gradients_only(runs, layout):
    """`tensor` adds tokens up twice a layer; no other axis moves them."""
    shards = runs[layout].facts["frozen_shards"].values()
    # A product takes one of q, k and v, and the axis `tensor` stays split.
    gathered = {tuple(sorted(whole[-2:])) for _, whole in shards if len(whole) > 1}
    gathered |= {(a // 2, b) for a, b in gathered} | {(a, b // 2) for a, b in gathered}
    gathered = {tuple(sorted(sizes)) for sizes in gathered}
    tokens = {False: 0, True: 0}  # arrays added up, forward and for the gradient
    for kind, backward, shapes in runs[layout].facts["collectives"]:
        assert kind in ("all-gather", "all-reduce")
        if kind == "all-gather":
            assert layout != "data"
            assert all(tuple(sorted(sizes)) in gathered for sizes in shapes), shapes
        else:
            tokens[backward] += sum(len(sizes) == 3 and sizes[0] > 1 for sizes in shapes)
    layers = 2 * (1 if "scanned" in layout else MODEL.depth)  # of two encoders
    if layout.startswith("all"):
        # For the gradient, q, k and v are added up one by one.
        assert tokens == {False: 2 * layers, True: 4 * layers}
    else:
        assert tokens == {False: 0, True: 0}
