"""Each part and the whole against plain PyTorch, in small sizes and with random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import apply_fn, bind
from mmadfer_jax.weights.mma_dfer import from_torch, leftovers, to_torch
from tests.golden_weights import listed_tensors, relative_error
from tests.sizes import changed, sizes
from tests.torch_twin import Twin, random_twin, tensors_of

SMALL = sizes(
    num_classes=5,
    num_frames=3,
    image_shape=48,
    audio_shape=(64, 48),
    width=48,
    depth=2,
    heads=3,
    mlp_dim=80,
    prompts=2,
    stages=2,
    bottleneck=20,
    temporal_width=32,
    temporal_depth=2,
    temporal_heads=2,
    temporal_head_dim=24,
    temporal_mlp_dim=40,
)


@pytest.fixture(scope="module")
def pair():
    """The twin, and our parameters made of its tensors."""
    twin = random_twin(SMALL)
    return twin, from_torch(tensors_of(twin), SMALL)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def ours(params, part, *inputs, config=SMALL):
    """Runs `part(model, *inputs)` in a trace."""
    return jax.tree.map(
        np.asarray, jax.jit(lambda p, *xs: part(bind(config, p), *xs))(params, *inputs)
    )


def assert_close(found, expected, tolerance):
    assert relative_error(found, expected.detach().numpy()) < tolerance


def test_names_and_shapes_of_the_twin_are_those_of_a_released_checkpoint():
    with torch.device("meta"):
        twin = Twin(ModelConfig())
    found = {name: tuple(x.shape) for name, x in twin.state_dict().items()}
    assert found == {name: shape for name, (shape, _) in listed_tensors().items()}


@torch.no_grad()
def test_patches_tokens_and_positions(pair):
    twin, params = pair
    frames, sound = random(2, 48, 48, 3), random(2, 64, 48, 1)
    image, audio = ours(
        params,
        lambda m, f, s: (m.image_encoder.embed(f), m.audio_encoder.embed(s)),
        *(frames, sound),
    )
    to_torch = lambda x: torch.from_numpy(x).permute(0, 3, 1, 2)  # noqa: E731
    # measured 6.2e-7
    assert_close(image, twin.image_encoder.embed(to_torch(frames)), 1e-5)
    assert_close(audio, twin.audio_model.embed(to_torch(sound)), 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 1])
def test_transformer_layer(pair, layer):
    twin, params = pair
    x = random(2, 7, 48)
    found = ours(params, lambda m, x: m.image_encoder.blocks[layer](x), x)
    assert_close(found, twin.image_encoder.blocks[layer](torch.from_numpy(x)), 1e-5)  # 3e-7


@torch.no_grad()
def test_fusion_bottleneck(pair):
    twin, params = pair
    image, audio = random(6, 14, 48), random(2, 9, 48, seed=1)
    found = ours(params, lambda m, v, a: m.fusion[1](v, a, 3), image, audio)
    expected = twin.fuse(1, torch.from_numpy(image), torch.from_numpy(audio))
    assert_close(found[0], expected[0], 1e-5)  # measured 3e-7
    assert_close(found[1], expected[1], 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("stage", [0, 1])
def test_progressive_prompts(pair, stage):
    twin, params = pair
    x = random(2, 14, 48)
    found = ours(params, lambda m, x: m.audio_encoder.add_stage_prompts(x, stage), x)
    assert_close(found, twin.add_prompts(twin.audio_model, torch.from_numpy(x), stage), 1e-6)


@torch.no_grad()
def test_temporal_transformer(pair):
    twin, params = pair
    x = random(2, 3, 32)
    found = ours(params, lambda m, x: m.temporal(x), x)
    assert_close(found, twin.temporal_net(torch.from_numpy(x)), 1e-5)  # measured 3e-7


def compare_whole(config, twin):
    params = from_torch(tensors_of(twin), config)
    frames = np.random.default_rng(0).random(
        (2, config.num_frames, config.image_size, config.image_size, 3), np.float32
    )
    sound = random(2, *config.audio.shape)
    found = jax.jit(apply_fn(config))(params, frames, sound)
    with torch.no_grad():
        expected = twin(
            torch.from_numpy(frames).permute(0, 1, 4, 2, 3), torch.from_numpy(sound)[:, None]
        )
    assert found.shape == (2, config.num_classes)
    assert_close(found, expected, 1e-5)  # measured at most 3.0e-7


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_classes": 43, "num_frames": 1, "temporal_depth": 4, "depth": 4, "bottleneck": 4},
        {"depth": 5, "stages": 3},
        {
            **{"image_shape": 32, "image_patch": 8, "image_stride": 4, "audio_patch": (16, 8)},
            **{"audio_stride": 8, "audio_shape": 40, "prompts": 1, "stages": 1},
        },
    ],
    ids=lambda changes: "-".join(changes) or "small",
)
def test_whole_model(changes):
    config = changed(SMALL, **changes)
    compare_whole(config, random_twin(config, seed=len(changes)))


def test_gradients_of_every_trained_tensor(pair):
    twin, params = pair
    frames, sound = random(2, 3, 48, 48, 3) * 0.1 + 0.5, random(2, 64, 48)
    labels = np.array([1, 4])
    apply = apply_fn(SMALL)

    def loss(params):
        logits = jax.nn.log_softmax(apply(params, frames, sound))
        return -logits[jnp.arange(2), labels].mean()

    found = {
        name: torch.from_numpy(np.array(x))
        for name, x in to_torch(jax.jit(jax.grad(loss))(params), SMALL).items()
    }
    twin.zero_grad()
    logits = twin(torch.from_numpy(frames).permute(0, 1, 4, 2, 3), torch.from_numpy(sound)[:, None])
    F.cross_entropy(logits, torch.from_numpy(labels)).backward()
    scale = max(p.grad.abs().max() for p in twin.parameters() if p.grad is not None)
    for name, parameter in twin.named_parameters():
        if parameter.grad is None:  # heads and the second norms
            assert name not in found or not found[name].any(), name
        else:
            error = (found[name] - parameter.grad).abs().max()
            assert error < 1e-4 * parameter.grad.abs().max() + 1e-7 * scale, name


def test_the_twin_loads_what_goes_out_strictly(pair):
    twin, params = pair
    heads = leftovers(tensors_of(twin))
    out = {**to_torch(params, SMALL), **heads}
    other = random_twin(SMALL, seed=7)
    other.load_state_dict({n: torch.from_numpy(np.array(x)) for n, x in out.items()}, strict=True)
    assert all(torch.equal(x, other.state_dict()[name]) for name, x in twin.state_dict().items())
