"""Encoders that differ, stages that do not divide the layers, and this repository's configs."""

import dataclasses
import importlib
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import configs
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import abstract_params, apply_fn
from mmadfer_jax.training.epochs import Epochs
from mmadfer_jax.training.optimizer import TRAINED, UNUSED, split
from mmadfer_jax.training.program import Program
from mmadfer_jax.training.settings import plain
from mmadfer_jax.training.sharding import make_mesh
from tests.conftest import SMALL
from tests.golden_weights import random_params
from tests.programs import program_of
from tests.sizes import changed

# As a ViT-L beside a ViT-B; prompts are renewed after layers 0 and 1 of 3.
UNEQUAL = changed(
    SMALL,
    image_width=48,
    image_heads=4,
    image_mlp_dim=96,
    depth=3,
    stages=2,
    temporal_depth=1,
    drop_path=0.0,
    dtype="bfloat16",
)
# `saved` reads what a run has written; tests/studies trains from it.
NAMES = sorted({path.stem for path in Path(configs.__path__[0]).glob("[!_]*.py")} - {"saved"})


def test_encoders_of_other_widths_have_a_projection_each():
    shapes = {path: x.shape for path, x in abstract_params(UNEQUAL).items()}
    assert shapes["project.kernel"] == (48, 16)
    assert shapes["project.bias"] == (16,)
    assert shapes["project_audio.kernel"] == (24, 16)
    assert "project_audio.bias" not in shapes
    assert shapes["fusion.2.image_up.kernel"] == (8, 48)
    assert shapes["fusion.2.audio_up.kernel"] == (8, 24)
    assert not any("project_audio" in path for path in abstract_params(SMALL))


def test_the_sound_of_other_width_reaches_the_logits_by_its_projection():
    params = random_params(UNEQUAL)
    params |= {path: np.zeros_like(x) for path, x in params.items() if "_gate" in path}
    rng = np.random.default_rng(0)
    frames = rng.random((1, 4, 32, 32, 3), np.float32)
    sounds = rng.standard_normal((2, 1, *UNEQUAL.audio.shape), np.float32)
    apply = jax.jit(apply_fn(UNEQUAL))
    first, second = (apply(params, frames, sound) for sound in sounds)
    assert np.abs(first - second).max() > 1e-3
    params["project_audio.kernel"] *= 0
    first, second = (apply(params, frames, sound) for sound in sounds)
    np.testing.assert_array_equal(first, second)


def test_encoders_of_other_widths_train():
    assert UNEQUAL.stage_starts == (0, 1)
    program = program_of(UNEQUAL)
    before, frozen = split(random_params(UNEQUAL), program.labels)
    rng = np.random.default_rng(0)
    batch = {
        "frames": rng.integers(0, 256, (2, 4, 32, 32, 3), np.uint8),
        "spectrogram": rng.standard_normal((2, *UNEQUAL.audio.shape), np.float32),
        "label": np.array([0, 2], np.int32),
    }
    state, placed = program.init_state(before), program.place_frozen(frozen)
    state, metrics = program.train_step(state, placed, batch, program.key(0))
    assert np.isfinite(metrics["loss"])
    still = {
        path for path, x in jax.device_get(state.trainable).items() if (x == before[path]).all()
    }
    assert still == {path for path in before if re.fullmatch(UNUSED, path)}
    prompts = {
        f"{side}_encoder.progressive_prompts.{stage}"
        for side in ("image", "audio")
        for stage in (0, 1)
    }
    assert {"project_audio.kernel", "project.kernel", *prompts} < before.keys()


@pytest.mark.parametrize("name", NAMES)
def test_every_config_gives_a_program(name):
    settings = plain(importlib.import_module(f"configs.{name}").get_config())
    model = ModelConfig.from_dict({**settings["model"], "num_classes": 7})
    settings["model"] = model.to_dict()
    settings["train"] |= dataclasses.asdict(Epochs(settings["train"]["epochs"], 2))
    program = Program(settings, make_mesh(devices=jax.devices()[:1]))
    assert TRAINED in program.labels.values()
    *_, metrics = program.lower_train(1).out_info
    assert {name: x.shape for name, x in metrics.items()} == {
        "loss": (),
        "accuracy": (),
        "grad_norm": (),
    }
    assert program.lower_eval(2).out_info.shape == (2, 7)
