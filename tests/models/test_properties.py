import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.compute import Compute
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.mma_dfer import MmaDfer
from mmadfer_jax.models.params import apply_fn, bind, init_params
from mmadfer_jax.models.vit import drop_path
from tests import sizes as sizes_of
from tests.golden_weights import random_params
from tests.sizes import changed, sizes

CONFIG = sizes(
    num_classes=3,
    num_frames=4,
    image_shape=32,
    audio_shape=(32, 48),
    width=32,
    depth=4,
    heads=4,
    mlp_dim=32,
    prompts=2,
    stages=2,
    bottleneck=8,
    temporal_width=16,
    temporal_heads=2,
    temporal_head_dim=8,
    temporal_mlp_dim=16,
    drop_path=0.3,
)
AST = changed(CONFIG, **sizes_of.AST)


def inputs(config=CONFIG, clips=2, seed=0):
    rng = np.random.default_rng(seed)
    side = config.image_size
    frames = rng.random((clips, config.num_frames, side, side, 3), np.float32)
    return frames, rng.standard_normal((clips, *config.audio.shape), np.float32)


@pytest.fixture(scope="module")
def trace():
    """`trace(params, frames, spectrogram)` -> logits, image tokens and audio tokens by layer."""

    def run(params, frames, spectrogram):
        layers = []
        logits = bind(CONFIG, params)(
            frames, spectrogram, on_layer=lambda i, image, audio: layers.append((image, audio))
        )
        return logits, *zip(*layers, strict=True)

    return jax.jit(run)


def with_gates(value):
    params = random_params(CONFIG)
    return {path: np.full_like(x, value) if "_gate" in path else x for path, x in params.items()}


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_gates_at_0_leave_the_encoders_independent(trace):
    (frames, sound), (other_frames, other_sound) = inputs(), inputs(seed=1)
    _, image, audio = trace(with_gates(0.0), frames, sound)
    assert same(image, trace(with_gates(0.0), frames, other_sound)[1])
    assert same(audio, trace(with_gates(0.0), other_frames, sound)[2])


def test_open_gates_let_each_encoder_see_the_other_from_the_first_layer_on(trace):
    (frames, sound), (other_frames, other_sound) = inputs(), inputs(seed=1)
    _, image, audio = trace(with_gates(0.5), frames, sound)
    _, image_of_other_sound, _ = trace(with_gates(0.5), frames, other_sound)
    _, _, audio_of_other_frames = trace(with_gates(0.5), other_frames, sound)
    for layer in range(CONFIG.depth):
        assert not np.array_equal(image[layer], image_of_other_sound[layer])
        assert not np.array_equal(audio[layer], audio_of_other_frames[layer])


@pytest.mark.parametrize("deep", ["image", "audio"])
def test_a_deeper_encoder_passes_several_layers_between_two_meetings(deep):
    """With every second of its layers adding nothing it is the model of encoders as deep."""
    even, config = with_gates(0.5), changed(CONFIG, **{f"{deep}_depth": 2 * CONFIG.depth})
    other = random_params(config)
    params = {}
    for path, value in other.items():
        encoder, _, rest = path.partition(".blocks.")
        if not rest or encoder != f"{deep}_encoder":
            params[path] = even[path]
            continue
        number, _, name = rest.partition(".")
        if int(number) % 2 == 0:
            params[path] = even[f"{encoder}.blocks.{int(number) // 2}.{name}"]
        else:
            adds = name.startswith(("attn.proj", "mlp.fc2"))
            params[path] = np.zeros_like(value) if adds else value
    logits = jax.jit(apply_fn(config))(params, *inputs())
    np.testing.assert_allclose(logits, jax.jit(apply_fn(CONFIG))(even, *inputs()), atol=1e-5)
    key = jax.random.key(0)  # and as one layer that is repeated, drop paths included
    by_way = [
        jax.jit(apply_fn(config, Compute(layers=way)))(other, *inputs(), key)
        for way in ("loop", "scan")
    ]
    np.testing.assert_allclose(*by_way, atol=1e-5)
    params[f"{deep}_encoder.blocks.7.mlp.fc2.bias"] += 1  # the last layer is passed, too
    assert np.abs(jax.jit(apply_fn(config))(params, *inputs()) - logits).max() > 1e-3


def test_permuting_frames_changes_only_the_temporal_part(trace):
    (frames, sound), order = inputs(), [2, 0, 3, 1]
    params = random_params(CONFIG)
    logits, image, audio = trace(params, frames, sound)
    permuted_logits, permuted_image, permuted_audio = trace(params, frames[:, order], sound)
    for layer in range(CONFIG.depth + 1):
        by_frame = image[layer].reshape(2, 4, *image[layer].shape[1:])[:, order]
        np.testing.assert_allclose(
            permuted_image[layer].reshape(by_frame.shape), by_frame, atol=1e-5
        )
        np.testing.assert_allclose(permuted_audio[layer], audio[layer], atol=1e-5)
    assert np.abs(permuted_logits - logits).max() > 1e-3
    # Where all frames have one temporal position their order means nothing.
    positions = params["temporal.pos_embedding"]
    positions[:, 1:] = positions[:, 1:2]
    logits, permuted = (trace(params, x, sound)[0] for x in (frames, frames[:, order]))
    np.testing.assert_allclose(permuted, logits, atol=1e-5)


def test_clips_of_a_batch_do_not_see_each_other():
    apply, params = jax.jit(apply_fn(CONFIG)), random_params(CONFIG)
    frames, sound = inputs()
    both = apply(params, frames, sound)
    frames[1], sound[1] = 0.5, 0
    np.testing.assert_allclose(apply(params, frames, sound)[0], both[0], atol=1e-6)


def test_evaluation_is_deterministic_and_training_follows_its_key():
    apply, params = jax.jit(apply_fn(CONFIG)), random_params(CONFIG)
    frames, sound = inputs()
    np.testing.assert_array_equal(apply(params, frames, sound), apply(params, frames, sound))
    first, again, other = (apply(params, frames, sound, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, apply(params, frames, sound))


@pytest.mark.parametrize("rate", [0.1, 0.05, 0.5])
def test_drop_path_drops_whole_samples_at_its_rate_and_scales_the_rest(rate):
    n = 40_000
    x = jnp.ones((n, 3, 2))
    out = np.asarray(drop_path(x, rate, jax.random.key(0)))
    assert (out == out[:, :1, :1]).all()  # a sample as a whole
    kept = out[:, 0, 0] != 0
    np.testing.assert_allclose(out[kept], 1 / (1 - rate), rtol=1e-6)
    sigma = (rate * (1 - rate) / n) ** 0.5
    assert abs((1 - kept.mean()) - rate) < 4 * sigma
    assert abs(out.mean() - 1) < 4 * sigma / (1 - rate)  # the expectation is unchanged
    # Neighbours, the frames of one clip, are drawn independently.
    pairs = np.mean(~kept[1:] & ~kept[:-1])
    assert abs(pairs - rate**2) < 4 * (rate**2 / n) ** 0.5


def test_drop_path_does_nothing_in_evaluation_and_at_rate_0():
    x = jnp.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_array_equal(drop_path(x, 0.5, None), x)
    np.testing.assert_array_equal(drop_path(x, 0.0, jax.random.key(0)), x)


@pytest.mark.parametrize("encoder", ["image_encoder", "audio_encoder"])
def test_drop_path_rates_rise_linearly_with_depth(encoder):
    config = changed(CONFIG, depth=12, drop_path=0.1)

    model = nnx.eval_shape(lambda: MmaDfer(config, rngs=nnx.Rngs(0)))
    rates = [block.drop_path_rate for block in getattr(model, encoder).blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.1, 12))


def test_both_branches_of_a_layer_are_dropped_independently():
    """Of the four outcomes of a layer each comes as often as its probability says."""
    rate, n = 0.3, 4000  # the rate of the last layer
    params = random_params(CONFIG)
    x = np.broadcast_to(np.random.default_rng(0).standard_normal((1, 2, 32)), (n, 2, 32))

    @jax.jit
    def run(params, x, key):
        block = bind(CONFIG, params).image_encoder.blocks[3]
        with_attention = x + block.attn(block.norm1(x)) / (1 - rate)
        outcomes = [
            start + keep * block.mlp(block.norm2(start)) / (1 - rate)
            for start in (x, with_attention)
            for keep in (0, 1)
        ]
        return block(x, key), jnp.stack(outcomes)

    out, outcomes = run(params, x.astype(np.float32), jax.random.key(3))
    distance = np.abs(np.asarray(out) - np.asarray(outcomes)).max(axis=(2, 3))  # [4, n]
    assert distance.min(axis=0).max() < 1e-5
    found = np.bincount(distance.argmin(axis=0), minlength=4) / n
    expected = np.array([rate * rate, rate * (1 - rate), rate * (1 - rate), (1 - rate) ** 2])
    assert (np.abs(found - expected) < 4 * np.sqrt(expected / n)).all()


def test_fresh_parameters_are_as_the_paper_starts():
    config = changed(CONFIG, width=256, mlp_dim=256, bottleneck=64, temporal_width=128)
    params = {path: np.asarray(x) for path, x in init_params(config, 0).items()}
    for side in ("image", "audio"):
        prompts = params[f"{side}_encoder.prompts"]
        np.testing.assert_allclose(prompts.std(), 256**-0.5, rtol=0.1)
        prompt_positions = params[f"{side}_encoder.pos_embed"][:, -4:]
        np.testing.assert_allclose(prompt_positions.std(), 1, rtol=0.1)
    assert not any(x.any() for path, x in params.items() if "_gate" in path)
    np.testing.assert_allclose(params["temporal.pos_embedding"].std(), 1, rtol=0.1)
    for name, fan_in in (("fusion.0.image_down", 256), ("project", 256), ("classifier", 128)):
        for part in ("kernel", "bias"):
            values = params[f"{name}.{part}"]
            assert np.abs(values).max() <= fan_in**-0.5
        spread = params[f"{name}.kernel"].std()  # of U(-b, b): b / sqrt(3)
        np.testing.assert_allclose(spread, (fan_in * 3) ** -0.5, rtol=0.1)
    same_seed, other = init_params(config, 0), init_params(config, 1)
    assert all(np.array_equal(params[path], same_seed[path]) for path in params)
    assert not np.array_equal(params["project.kernel"], other["project.kernel"])


def test_ast_reads_the_spectrogram_frequency_major_and_averages_two_tokens():
    params, (_, sound) = random_params(AST), inputs(AST)

    def run(params, sound):
        encoder = bind(AST, params).audio_encoder
        tokens = encoder.embed(sound[..., None])
        return tokens, encoder.feature(tokens), encoder.norm(tokens)

    tokens, feature, normed = jax.jit(run)(params, sound)
    assert tokens.shape == (2, 2 + 4 * 2 + 4, 32)  # 4 bands by 2 time steps of stride 10
    np.testing.assert_allclose(feature[:, 0], normed[:, :2].mean(1), atol=1e-6)
    kernel = params["audio_encoder.patch_embed.proj.kernel"][..., 0, :]  # [frequency, time, D]
    band, step = 2, 1
    piece = sound[:, step * 10 : step * 10 + 16, band * 10 : band * 10 + 16]  # [B, time, frequency]
    expected = np.einsum("btf,ftd->bd", piece, kernel)
    expected += params["audio_encoder.patch_embed.proj.bias"]
    number = 2 + band * 2 + step
    expected += params["audio_encoder.pos_embed"][0, number]
    np.testing.assert_allclose(tokens[:, number], expected, atol=1e-5)


def test_ast_trains_as_the_rest_does():
    params, (frames, sound) = random_params(AST), inputs(AST)
    loss = lambda p: apply_fn(AST)(p, frames, sound)[:, 0].sum()  # noqa: E731
    gradients = jax.jit(jax.grad(loss))(params)
    unused = {path for path, g in gradients.items() if not np.any(g)}
    assert all("norm2" in path and path.startswith("temporal") for path in unused)
    assert np.any(gradients["audio_encoder.dist_token"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio_patch_order": "spiral"}, r"patch_order is 'spiral'; expected one of"),
        ({"audio_special_tokens": 3}, r"special_tokens is 3; expected 1 \(CLS\) or 2"),
        (
            {"audio_depth": 3},
            r"image.depth is 4 and model.audio.depth 3; expected one to be a mult",
        ),
        ({"audio_depth": 1, "stages": 2}, r"stages is 2, more than the 1 layers after which"),
        ({"image_shape": (32, 48)}, r"image.shape is \(32, 48\); expected a square"),
        ({"stages": 5}, r"stages is 5, more than the 4 layers"),
        ({"drop_path": 1.0}, r"drop_path is 1.0; expected 0 <= rate < 1"),
        ({"image_mean": (0.5, 0.5)}, r"mean is \(0\.5, 0\.5\); expected 3 number"),
        ({"image_std": (0.5, 0.0, 0.5)}, "std .* expected numbers above 0"),
        ({"audio_norm_eps": 0.0}, "norm_eps 0.0: expected numbers above 0"),
        ({"audio_stride": (10,)}, r"stride is \(10,\); expected 2 number"),
        ({"num_classes": 0}, "num_classes is 0; expected whole numbers above 0"),
        ({"audio_shape": (512.5, 128)}, "expected whole numbers above 0"),
        ({"width": 50}, "not a multiple of heads"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        changed(CONFIG, **changes)


def test_a_config_survives_json():
    for config in (ModelConfig(), AST):
        text = json.dumps(config.to_dict())
        assert ModelConfig.from_dict(json.loads(text)) == config
