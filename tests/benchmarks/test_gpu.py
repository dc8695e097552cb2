"""The command for a machine with a GPU, rehearsed where there is none."""

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import flops
import gpu
import gpu_parts
import gpu_variants
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_step
from chips import CHIPS, chip_of

from mmadfer_jax.costing import timing
from mmadfer_jax.costing.flops import count_products
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.training.optimizer import split
from tests.programs import program_of
from tests.sizes import AST, changed

GPU = Path(__file__).parent.parent.parent / "benchmarks" / "gpu.py"


# Counting.


def counted(jaxpr) -> int:
    """FLOPs of all matrix products and convolutions in a jaxpr and in those inside it."""
    found = Counter()
    count_products(jaxpr, found)
    return found.total()


SIZES = {
    "the paper's": ModelConfig(),
    "ViT-L for the frames": changed(
        ModelConfig(), image_width=1024, image_heads=16, image_mlp_dim=4096, depth=2
    ),
    "AST": changed(ModelConfig(), depth=2, **AST),
    "two temporal layers": changed(ModelConfig(), depth=2, temporal_depth=2, prompts=4, stages=1),
    "parts left out": changed(
        ModelConfig(), depth=2, prompted="image", fusion="to_image", fusion_layers=(1,), stages=0
    ),
    "the mean of frames": changed(ModelConfig(), depth=2, fusion="none", temporal_depth=0),
    "sound alone": changed(ModelConfig(), depth=2, modalities="audio", prompts=0, stages=1),
}


@pytest.mark.parametrize("name", SIZES)
def test_counts_what_the_program_multiplies(name):
    model = SIZES[name]
    program, batch = program_of(model), 2
    step = jax.make_jaxpr(program._train_step)(
        program.abstract_state(),
        program.abstract_frozen(),
        program.abstract_batch(batch, 256),
        jax.eval_shape(lambda: jax.random.key(0)),
    )
    of_a_clip = flops.flops_a_clip(model, training=True) + flops.pixels(model, 256).forward
    assert counted(step.jaxpr) == batch * of_a_clip
    forward = jax.make_jaxpr(program._eval_step)(
        program.abstract_trainable(), program.abstract_frozen(), program.abstract_batch(batch)
    )
    assert counted(forward.jaxpr) == batch * flops.flops_a_clip(model, training=False)


def test_counts_about_what_the_compiler_counts():
    model = changed(ModelConfig(), depth=2)
    found = program_of(model).lower_eval(1).cost_analysis()["flops"]
    # Measured 1.026: XLA counts additions and GELUs too.
    assert 1 < found / flops.flops_a_clip(model, training=False) < 1.05


def test_table_adds_up():
    program = program_of(ModelConfig())
    trained, frozen = split(program.shapes, program.labels)
    sizes = [sum(x.size for x in side.values()) for side in (trained, frozen)]
    text = flops.table(program.model, CHIPS["H100"], 32, *sizes)
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")][1:]
    *parts, total = [[float(cell) for cell in row[2:7]] for row in rows]
    assert [sum(column) for column in zip(*parts, strict=True)] == pytest.approx(total, rel=0.01)


def test_knows_chips_by_the_names_of_their_drivers():
    assert chip_of("NVIDIA H100 80GB HBM3").bandwidth == 3.35e12
    assert chip_of("NVIDIA H200").bandwidth == 4.8e12
    assert chip_of("NVIDIA A100-SXM4-80GB").bfloat16 == 312e12
    assert chip_of("NVIDIA H100 PCIe").bfloat16 == 756e12
    assert chip_of("cpu") is None


# Gradients of frozen weights.


def test_sees_gradients_of_frozen_weights():
    config = train_step.recipe(toy=True)
    program = timing.program_of(config)
    config.freeze = ((r".*", "trained"),)
    texts = {
        name: p.lower_train(4).compiler_ir("hlo").as_hlo_text()
        for name, p in (("frozen", program), ("trained", timing.program_of(config)))
    }
    line = gpu_parts.check_frozen(texts["frozen"], program)
    assert line["gradients_of_trained"] > 10
    with pytest.raises(AssertionError, match="gradients of frozen weights"):
        gpu_parts.check_frozen(texts["trained"], program)
    with pytest.raises(AssertionError, match="no gradients were found"):
        gpu_parts.check_frozen("", program)


def test_sees_products_of_compiled_programs():
    text = """
  %custom-call.1 = (bf16[768,128]{1,0}, s8[4194304]{0}) custom-call(%a, %b), custom_call_target="__cublas$lt$matmul"
  %dot.3 = f32[4,768,3072]{2,1,0} dot(%c, %d), lhs_contracting_dims={0}
  ROOT %cudnn-conv = (bf16[8,768]{1,0}, u8[0]{0}) custom-call(%e), custom_call_target="__cudnn$convForward"
  %topk = (f32[5,5]{1,0}, s32[5]{0}) custom-call(%f), custom_call_target="TopK"
  %add.1 = f32[9,9]{1,0} add(%dot.3, %g)
"""  # noqa: E501
    assert set(gpu_parts.products(text)) == {(768, 128), (4, 768, 3072)}


# Memory.


def test_takes_the_least_rematerialisation_that_fits(monkeypatch):
    tried = []

    class Fake:
        compiled = None

        def __init__(self, program, batch, params):
            self.remat = program.compute.remat
            tried.append((self.remat, batch))

        def step(self):
            if self.remat == "none":
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(gpu_parts, "Training", Fake)
    monkeypatch.setattr(gpu_parts, "compiled_bytes", lambda _: 1000)
    monkeypatch.setattr(gpu_parts, "_room", lambda: 1500)
    config, needs = train_step.recipe(toy=True), {}
    work, passed = gpu_parts.training_that_fits(config, 2, {}, needs)
    assert work.remat == "attention"
    assert passed == ["none: RESOURCE_EXHAUSTED: out of memory"]
    work, passed = gpu_parts.training_that_fits(config, 4, {}, needs)
    assert (work.remat, len(passed)) == ("mlp", 2)
    work, passed = gpu_parts.training_that_fits(config, 8, {}, needs)
    assert (work.remat, len(passed)) == ("layers", 3)
    # What is known not to fit is not compiled.
    assert tried == [("none", 2), ("attention", 2), ("mlp", 4), ("layers", 8)]
    with pytest.raises(gpu_parts.DoesNotFitError, match="batch 16 fits in no way"):
        gpu_parts.training_that_fits(config, 16, {}, needs)


# Changes to the model.


def test_other_layouts_give_the_same_answers():
    program = timing.program_of(train_step.recipe(toy=True, dtype="float32"))
    params = timing.random_params(program)
    answers, multiplied = [], []
    for change in (lambda *_: None, gpu_variants.join, gpu_variants.fold):
        program = timing.program_of(train_step.recipe(toy=True, dtype="float32"))
        with gpu_variants.changed_model(change):
            text = program.lower_eval(4).compiler_ir("hlo").as_hlo_text()
            answers.append(np.asarray(timing.Inference(program, 4, params).step()))
        multiplied.append(gpu_parts.products(text))
    plain, joined, folded = (sum(found.values()) for found in multiplied)
    assert (plain - joined, folded) == (4, plain)  # two fewer a layer of each encoder
    assert {shape[:-1] for shape in multiplied[2]} != {shape[:-1] for shape in multiplied[0]}
    # Measured 0: the same sums.
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("small_gradient", [False, True])
def test_products_of_eight_bits(small_gradient):
    rng = np.random.default_rng(0)
    x, gradient = rng.standard_normal((2, 2, 8, 256), np.float32)
    kernel = rng.standard_normal((256, 256), np.float32) * np.linspace(0.01, 10, 256)
    scale = np.abs(kernel).max(axis=0) / 448
    small = jnp.asarray(kernel / scale).astype(jnp.float8_e4m3fn)

    def run(x):
        bias = jnp.zeros(256, jnp.bfloat16)
        return gpu_variants.float8_linear(x, small, jnp.asarray(scale), bias, small_gradient)

    y, pull = jax.vjp(run, jnp.asarray(x, jnp.bfloat16))
    # Measured 0.037: two roundings of 0.026 each.
    assert gpu_variants.relative(y, x @ kernel) < 0.05
    (back,) = pull(jnp.asarray(gradient, jnp.bfloat16))
    # Measured 0.026 and 0.057: e5m2 has one bit less.
    error = gpu_variants.relative(back, gradient @ kernel.T)
    assert error < (0.08 if small_gradient else 0.04)


# What goes wrong.


def test_what_fails_is_a_line_and_the_rest_goes_on():
    part = gpu.Part("tests.benchmarks.failing_parts:broken", 8)
    lines = list(gpu.run_part("p", part, toy=True, seconds=8, environment={}))
    assert all(line["part"] == "p" for line in lines)
    by_name = {line["name"]: line for line in lines}
    assert list(by_name) == [
        *("fine", "fails", "crashes", "after the crash", "hangs", "after the hang"),
    ]
    assert by_name["fine"]["toy"] is True
    assert by_name["fails"]["error"].startswith("MemoryError: RESOURCE_EXHAUSTED")
    assert by_name["fails"]["error"].endswith("the end")
    assert len(by_name["fails"]["error"]) < 500
    assert "ended with 7" in by_name["crashes"]["error"]
    assert by_name["after the crash"]["value"] == 1
    assert "stopped after" in by_name["hangs"]["error"]
    assert by_name["after the hang"] == {
        "part": "p",
        "name": "after the hang",
        "error": "not run: no time was left",
    }


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("lacking", "not measured: a_package_that_nobody_has is not installed"),
        ("wrong", "cannot start at all"),
    ],
)
def test_a_part_that_cannot_start_is_one_line(function, error):
    part = gpu.Part(f"tests.benchmarks.failing_parts:{function}", 20)
    (line,) = gpu.run_part("p", part, toy=False, seconds=20, environment={})
    assert error in line["error"]


def test_parts_without_time_are_named():
    parts = {"late": gpu.Part("no:where", 60)}
    (line,) = gpu.run(parts, toy=True, seconds=3, cache="")
    assert line["part"] == "late"
    assert line["error"].startswith("not run")


# All of it.


def numbers(value):
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)
    elif isinstance(value, int | float):
        yield value


def test_rehearsal(tmp_path):
    out = tmp_path / "gpu.jsonl"
    command = [sys.executable, GPU, "--toy", f"--out={out}", "--seconds=500"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == out.read_text()
    machine, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert machine["part"] == "machine"
    assert machine["versions"]["jax"] == jax.__version__
    assert {line["part"] for line in lines} == set(gpu.PARTS)
    errors = {line.get("name"): line["error"] for line in lines if "error" in line}
    assert list(errors) == ["attention cudnn"], errors
    assert "expected bfloat16 on a GPU" in errors["attention cudnn"]
    assert all(math.isfinite(number) for line in lines for number in numbers(line))
    by_name = {(line["part"], line["name"]): line for line in lines}
    for (part, name), line in by_name.items():
        if any(word in name for word in ("training", "inference", "baseline", "float8")):
            keys = {"clips_per_second", "tflops", "logits of float8 against bfloat16"}
            assert keys & set(line), (part, name)
    assert by_name["ours", "no gradients of frozen weights"]["gradients_of_frozen"] == 0
    assert 0 < by_name["ours", "profile"]["device_busy"] <= 1
    assert 0 < by_name["loop", "0 workers"]["device_busy"] <= 1
    assert by_name["video", "every 10th looked at"]["frames_per_second"] > 0
    error = by_name["variants", "error of float8"]
    assert error["logits of bfloat16 against float32"] < error["logits of float8 against float32"]
    assert error["logits of float8 against float32"] < 0.5
