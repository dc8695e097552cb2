"""A training run taken out of its work directory."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import mmadfer_jax
from mmadfer_jax.errors import UserError
from mmadfer_jax.evaluate import evaluate_run
from mmadfer_jax.export import export
from mmadfer_jax.models.config import AUDIOSET_MEAN, AUDIOSET_STD
from mmadfer_jax.train import train
from tests.conftest import set_model, small_settings
from tests.foreign_files import prefixed, save_torch, timm
from tests.sizes import changed, sizes
from tests.torch_twin import Twin

# A model that takes the encoders of `tests.foreign_files`, AST's with 6 x 7 patches of stride 10.
MODEL = sizes(
    num_classes=3,
    num_frames=4,
    image_shape=12,
    image_patch=4,
    image_stride=4,
    audio_shape=(80, 128),
    audio_patch=(16, 16),
    width=48,
    depth=1,
    heads=3,
    mlp_dim=96,
    prompts=2,
    stages=1,
    bottleneck=8,
    temporal_width=16,
    temporal_heads=2,
    temporal_head_dim=8,
    temporal_mlp_dim=16,
    dtype="bfloat16",
)


AST_SETTINGS = {"special_tokens": 2, "patch_order": "columns", "stride": (10, 10)}
AST = prefixed(
    timm(channels=1, patches=12 * 11, specials=2, patch=16, depth=1, seed=1), "module.v."
)
AUDIOMAE = timm(channels=1, patches=10 * 8, patch=16, depth=1, seed=1)


def configure(config, directory, model, audio):
    """Makes `config` one of `model` that starts from files of two encoders."""
    set_model(config, model)
    config.model.audio.update(dict.fromkeys(("special_tokens", "patch_order", "stride")))
    config.train.epochs = 1
    config.image_weights = str(save_torch(directory / "image.pth", timm(depth=1), "model"))
    config.audio_weights = str(save_torch(directory / "audio.pth", audio))


def random_inputs():
    rng = np.random.default_rng(0)
    frames = rng.random((2, 4, 12, 12, 3), np.float32)
    return frames, rng.standard_normal((2, 80, 128), np.float32)


@pytest.fixture(scope="module")
def ast_run(small_dataset, tmp_path_factory):
    """A run with AST in bfloat16, moved to another folder, its encoders' files deleted."""
    folder = tmp_path_factory.mktemp("ast")
    config = small_settings(small_dataset)
    configure(config, folder, MODEL, AST)
    config.data.frame_order, config.data.missing_sound = "text", "mean"
    train(config, folder / "first")
    for file in folder.glob("*.pth"):
        file.unlink()
    return config, (folder / "first").rename(folder / "moved")


def test_a_moved_run_whose_encoder_files_are_gone_is_complete(ast_run, tmp_path):
    config, moved = ast_run
    workdir = Path(shutil.copytree(moved, tmp_path / "run"))
    model = mmadfer_jax.load_model(workdir)
    assert model.card.model == dataclasses.replace(
        MODEL, audio=dataclasses.replace(MODEL.audio, **AST_SETTINGS)
    )
    assert model.card.sources["audio"]["grid"] == {"from": [12, 11], "to": [12, 7], "how": "crop"}
    # Frozen weights are the file's to the bit though the run computes in bfloat16.
    expected = AST["module.v.blocks.0.mlp.fc1.weight"].T
    found = model.params["audio_encoder.blocks.0.mlp.fc1.kernel"]
    np.testing.assert_array_equal(found, expected)
    assert model.params["audio_encoder.pos_embed"].shape == (1, 2 + 12 * 7 + 2, 48)
    frozen = list((workdir / "frozen").iterdir())
    assert [file.suffix for file in frozen] == [".safetensors"]
    evaluated = evaluate_run(config, workdir)
    assert evaluated["clips"] == 7
    config.train.epochs = 2
    train(config, workdir)
    assert mmadfer_jax.load_model(workdir).step == 4
    config.train.epochs = 1


@pytest.mark.parametrize("name", ["model.safetensors", "again.safetensors"])
def test_an_exported_file_says_and_answers_all_that_the_run_does(ast_run, tmp_path, name):
    _, workdir = ast_run
    with pytest.raises(UserError, match=r"cannot compute this model: model.audio.special_tokens"):
        export(workdir, tmp_path / "model.pth")
    own = tmp_path / "model.safetensors"
    export(workdir, own, layout="own")
    if name != own.name:
        export(own, tmp_path / name, layout="own")
    run, file = mmadfer_jax.load_model(workdir), mmadfer_jax.load_model(tmp_path / name)
    assert file.card == run.card
    assert (file.card.frame_order, file.card.missing_sound) == ("text", "mean")
    assert file.card.reading.missing_sound == MODEL.audio.mean[0]
    np.testing.assert_array_equal(file.logits(*random_inputs()), run.logits(*random_inputs()))


def test_runs_beside_each_other_share_frozen_weights_on_the_disk(ast_run, small_config, tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    configure(small_config, tmp_path, dataclasses.replace(MODEL, dtype="float32"), AUDIOMAE)
    train(small_config, folder / "one")
    small_config.train.learning_rate = 5e-4
    train(small_config, folder / "two")
    one, two = (next((folder / name / "frozen").iterdir()) for name in ("one", "two"))
    assert one.name == two.name
    assert one.samefile(two)
    shutil.rmtree(folder / "one")
    assert mmadfer_jax.load_model(folder / "two").params


def test_frozen_weights_that_are_damaged_or_gone_are_one_clear_error(ast_run, tmp_path):
    workdir = Path(shutil.copytree(ast_run[1], tmp_path / "run"))
    (file,) = (workdir / "frozen").iterdir()
    data = bytearray(file.read_bytes())
    data[-100] ^= 4
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"safetensors is damaged: .*Copy it again") as error:
        mmadfer_jax.load_model(workdir)
    assert "\n" not in str(error.value)
    file.unlink()
    with pytest.raises(UserError, match=r"is missing: the frozen weights of the run"):
        mmadfer_jax.load_model(workdir)


def test_other_encoder_files_than_the_runs_are_refused(small_config, tmp_path):
    configure(small_config, tmp_path, dataclasses.replace(MODEL, dtype="float32"), AUDIOMAE)
    train(small_config, tmp_path / "run")
    small_config.image_weights = str(save_torch(tmp_path / "other.pth", timm(depth=1, seed=5)))
    with pytest.raises(UserError, match=r"image_weights=.*other\.pth has SHA-256 .*but the run"):
        train(small_config, tmp_path / "run")


def test_a_run_goes_out_to_pytorch(small_config, tmp_path):
    model = changed(
        MODEL, dtype="float32", audio_mean=(AUDIOSET_MEAN,), audio_std=(2 * AUDIOSET_STD,)
    )
    configure(small_config, tmp_path, model, AUDIOMAE)
    train(small_config, tmp_path / "run")
    export(tmp_path / "run", tmp_path / "model.pth")
    content = torch.load(tmp_path / "model.pth", weights_only=True)["state_dict"]
    twin = Twin(model).eval()
    names = {name.removeprefix("module."): x for name, x in content.items()}
    twin.load_state_dict(names, strict=True)
    frames, sound = random_inputs()
    with torch.no_grad():
        images = torch.from_numpy(frames).permute(0, 1, 4, 2, 3)
        normalised = (sound - AUDIOSET_MEAN) / (2 * AUDIOSET_STD)
        expected = twin(images, torch.from_numpy(normalised.astype(np.float32))[:, None]).numpy()
    found = mmadfer_jax.load_model(tmp_path / "run").logits(frames, sound)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    again = mmadfer_jax.load_model(tmp_path / "model.pth").logits(frames, sound)
    np.testing.assert_array_equal(again, found)
