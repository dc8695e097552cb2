"""Encoders of the `transformers` library, saved by it, loaded by us, against its own output."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import ASTConfig, ASTForAudioClassification, ViTConfig, ViTModel

from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import bind
from mmadfer_jax.weights.initial import Encoders, initial_params
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
REST = {"num_frames": 2, "prompts": 2, "stages": 1, "bottleneck": 8}
REST |= {"temporal_width": 16, "temporal_mlp_dim": 16}
LIKE_IT = {"depth": 2, "heads": 3, "width": 24, "mlp_dim": 24}  # the other encoder


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
    encoders = Encoders.read(image_weights=path)
    values = {**REST, "image": {"shape": [32, 32], "heads": 3}, "audio": LIKE_IT}
    config = ModelConfig.from_dict(encoders.fit(values))
    assert (config.image.patch, config.image.norm_eps) == ((8, 8), 1e-12)
    params, _ = initial_params(config, seed=0, encoders=encoders)
    pictures = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)
    found, _ = encode(params, config, "image_encoder", pictures / 2 + 0.5)
    with torch.no_grad():
        expected = model(torch.from_numpy(pictures).permute(0, 3, 1, 2)).last_hidden_state
    assert relative_error(found, expected.numpy()) < 1e-5  # measured 1e-6


def test_ast(tmp_path):
    """36 mel bands and 56 frames of stride 10: 3 x 5 patches, frequency-major."""
    sizes = {"num_mel_bins": 36, "max_length": 56}
    model = randomised(ASTForAudioClassification(ASTConfig(**sizes, **SIZES)))
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    encoders = Encoders.read(audio_weights=path)
    as_it_is = {"mean": [0.0], "std": [1.0]}
    values = {**REST, "audio": {"shape": [56, 36], "heads": 3, **as_it_is}, "image": LIKE_IT}
    config = ModelConfig.from_dict(encoders.fit(values))
    assert (config.audio.special_tokens, config.audio.stride) == (2, (10, 10))
    params, sources = initial_params(config, seed=0, encoders=encoders)
    assert sources["audio"]["grid"] == {"from": [3, 5], "to": [3, 5], "how": "unchanged"}
    sound = np.random.default_rng(0).standard_normal((2, 56, 36), np.float32)
    tokens, feature = encode(params, config, "audio_encoder", sound[..., None])
    with torch.no_grad():
        expected = model.audio_spectrogram_transformer(torch.from_numpy(sound))
    assert relative_error(tokens, expected.last_hidden_state.numpy()) < 1e-5  # measured 1e-6
    assert relative_error(feature, expected.pooler_output.numpy()) < 1e-5
