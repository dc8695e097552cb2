"""Encoders of the `transformers` library, saved by it, loaded by us, against its own output."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import ASTConfig, ASTForAudioClassification, ViTConfig, ViTModel

from mmadfer_jax.models.mma_dfer import ModelConfig
from mmadfer_jax.models.params import bind
from mmadfer_jax.weights import fit_config, initial_params
from tests.golden_weights import relative_error

logging.getLogger("transformers").setLevel(logging.ERROR)

SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 80,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
REST = {
    **dataclasses.asdict(ModelConfig(num_frames=2, prompts=2, stages=1, bottleneck=8)),
    **{"width": None, "depth": None, "mlp_dim": None, "heads": 3},
    **{"temporal_width": 16, "temporal_mlp_dim": 16},
}


def randomised(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(generator=generator).mul_(0.3 if p.ndim > 1 else 1)
    return model.eval()


def encode(params, config, name, pictures):
    """Our encoder alone: without prompts, which stand at the end of the sequence."""

    def run(params, pictures):
        encoder = getattr(bind(config, params), name)
        x = encoder.embed(pictures)[:, : -config.prompts * config.stages]
        for block in encoder.blocks:
            x = block(x)
        return encoder.norm(x), encoder.feature(x)[:, 0]

    return jax.tree.map(np.asarray, jax.jit(run)(params, jnp.asarray(pictures)))


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_vit(tmp_path, ending):
    model = randomised(ViTModel(ViTConfig(image_size=32, patch_size=8, **SIZES)))
    path = tmp_path / "pytorch_model.bin"
    if ending == "bin":
        torch.save(model.state_dict(), path)
    else:
        model.save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
    open_values = ("image_patch", "image_stride", "image_norm_eps", "image_mean", "image_std")
    values = {**REST, **dict.fromkeys(open_values), "image_size": 32}
    config = fit_config(values, image_weights=path)
    assert (config.image_patch, config.image_norm_eps) == (8, 1e-12)
    params, _ = initial_params(config, seed=0, image_weights=path)
    pictures = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)
    found, _ = encode(params, config, "image_encoder", pictures)
    with torch.no_grad():
        expected = model(torch.from_numpy(pictures).permute(0, 3, 1, 2)).last_hidden_state
    assert relative_error(found, expected.numpy()) < 1e-5  # measured 1e-6


def test_ast(tmp_path):
    """36 mel bands and 56 frames of stride 10: 3 x 5 patches, frequency-major."""
    sizes = {"num_mel_bins": 36, "max_length": 56}
    model = randomised(ASTForAudioClassification(ASTConfig(**sizes, **SIZES)))
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    open_values = ("audio_encoder", "audio_patch", "audio_stride", "audio_norm_eps")
    values = {**REST, **dict.fromkeys(open_values), "spectrogram_shape": (56, 36)}
    config = fit_config(values, audio_weights=path)
    assert (config.audio_encoder, config.audio_patch_stride) == ("ast", (10, 10))
    params, sources = initial_params(config, seed=0, audio_weights=path)
    assert sources["audio"]["grid"] == {"from": [3, 5], "to": [3, 5], "how": "unchanged"}
    sound = np.random.default_rng(0).standard_normal((2, 56, 36), np.float32)
    tokens, feature = encode(params, config, "audio_encoder", sound[..., None])
    with torch.no_grad():
        expected = model.audio_spectrogram_transformer(torch.from_numpy(sound))
    assert relative_error(tokens, expected.last_hidden_state.numpy()) < 1e-5  # measured 1e-6
    assert relative_error(feature, expected.pooler_output.numpy()) < 1e-5
