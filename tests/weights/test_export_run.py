"""A training run taken out of its work directory."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
import torch
from mmadfer_jax.training.setup import ModelSetup
from mmadfer_jax.training.state import new_state

import mmadfer_jax
from mmadfer_jax.data.dataset_info import DatasetInfo
from mmadfer_jax.errors import UserError
from mmadfer_jax.export import export
from mmadfer_jax.models.params import apply_fn
from mmadfer_jax.train import train
from mmadfer_jax.training.checkpoints import Checkpoints
from mmadfer_jax.training.provenance import Provenance, plain
from mmadfer_jax.weights import load_checkpoint_file
from tests.foreign_files import prefixed, save_torch, timm
from tests.sizes import sizes
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


AST = prefixed(
    timm(channels=1, patches=12 * 11, specials=2, patch=16, depth=1, seed=1), "module.v."
)
AUDIOMAE = timm(channels=1, patches=10 * 8, patch=16, depth=1, seed=1)


def configure(config, directory, model, audio):
    """Makes `config` one of `model` that starts from files of two encoders."""
    config.model.update(dataclasses.asdict(model))
    config.train.epochs = 1
    config.image_weights = str(save_torch(directory / "image.pth", timm(depth=1), "model"))
    config.audio_weights = str(save_torch(directory / "audio.pth", audio))


def random_inputs():
    rng = np.random.default_rng(0)
    frames = rng.random((2, 4, 12, 12, 3), np.float32)
    return frames, rng.standard_normal((2, 80, 128), np.float32)


def test_ast_is_trained_saved_exported_to_our_format_and_loaded(small_config, tmp_path):
    model = dataclasses.replace(MODEL, audio_encoder="ast")
    configure(small_config, tmp_path, model, AST)
    workdir = tmp_path / "run"
    train(small_config, workdir)
    with pytest.raises(UserError, match=r"cannot compute this model: model.audio_encoder is 'ast'"):
        export(workdir, tmp_path / "model.pth")
    own = tmp_path / "model.safetensors"
    export(workdir, own, layout="own")
    params, config, info = load_checkpoint_file(own)
    assert config == dataclasses.replace(model, dtype="float32", audio_stride=(10, 10))
    assert info.classes == ("red", "green", "blue")
    assert info.sources["audio"]["grid"] == {"from": [12, 11], "to": [12, 7], "how": "crop"}
    # Frozen weights are the file's to the bit though the run kept them in bfloat16.
    expected = AST["module.v.blocks.0.mlp.fc1.weight"].T
    np.testing.assert_array_equal(params["audio_encoder.blocks.0.mlp.fc1.kernel"], expected)
    assert params["audio_encoder.pos_embed"].shape == (1, 2 + 12 * 7 + 2, 48)
    answers = mmadfer_jax.load(workdir).logits(*random_inputs())
    again = jax.jit(apply_fn(config))(params, *random_inputs())
    np.testing.assert_allclose(again, answers, atol=0.1)  # float32 against bfloat16


def test_a_run_goes_out_to_pytorch(small_config, small_dataset, tmp_path):
    """The run is a checkpoint as training writes it, without the steps."""
    configure(small_config, tmp_path, dataclasses.replace(MODEL, dtype="float32"), AUDIOMAE)
    setup = ModelSetup(plain(small_config))
    trainable, _, sha256, sources = setup.start()
    info = DatasetInfo.load(small_dataset)
    provenance = Provenance(
        plain(small_config), info.classes, info.preparation, sha256, sources
    ).to_dict()
    state = jax.device_put(new_state(trainable, optax.sgd(0.1)), jax.devices()[0])
    checkpoints = Checkpoints(tmp_path / "run", create=True)
    checkpoints.save(state, {}, provenance)
    checkpoints.close()

    export(tmp_path / "run", tmp_path / "model.pth")
    content = torch.load(tmp_path / "model.pth", weights_only=True)["state_dict"]
    twin = Twin(setup.model).eval()
    names = {name.removeprefix("module."): x for name, x in content.items()}
    twin.load_state_dict(names, strict=True)
    frames, sound = random_inputs()
    with torch.no_grad():
        images = torch.from_numpy(frames).permute(0, 1, 4, 2, 3)
        expected = twin(images, torch.from_numpy(sound)[:, None]).numpy()
    found = mmadfer_jax.load(tmp_path / "run").logits(frames, sound)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
