"""Parts of the model that settings leave out, each by what then no longer depends on what."""

import jax
import numpy as np
import pytest

from configs import default, demo
from mmadfer_jax.errors import UserError
from mmadfer_jax.models.compute import Compute
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import abstract_params, apply_fn, bind
from mmadfer_jax.training.optimizer import count, freeze_labels, split
from tests.golden_weights import random_params
from tests.sizes import changed, sizes

WHOLE = sizes(
    num_classes=3,
    num_frames=3,
    image_shape=16,
    image_patch=8,
    image_stride=8,
    audio_shape=(16, 24),
    audio_patch=(8, 8),
    audio_stride=(8, 8),
    width=16,
    depth=3,
    heads=2,
    mlp_dim=16,
    prompts=2,
    stages=1,
    bottleneck=8,
    temporal_width=16,
    temporal_heads=2,
    temporal_head_dim=8,
    temporal_mlp_dim=16,
    drop_path=0.3,
)
PARAMS = random_params(WHOLE)
rng = np.random.default_rng(0)
FRAMES, OTHER_FRAMES = rng.random((2, 2, 3, 16, 16, 3), np.float32)
SOUND, OTHER_SOUND = rng.standard_normal((2, 2, 16, 24), np.float32)


def params_of(config: ModelConfig, params=PARAMS) -> dict[str, np.ndarray]:
    """The parameters that a model shares with the whole one; of `pos_embed` the first rows."""
    found = {}
    for path, x in abstract_params(config).items():
        shared = params.get(path, np.zeros(x.shape, np.float32))
        found[path] = shared[:, : x.shape[1]] if path.endswith("pos_embed") else shared
    return found


def trace(frames=FRAMES, sound=SOUND, params=PARAMS, **changes):
    """Logits, and by layer the tokens of frames and of sound, of the whole model with changes."""
    config = changed(WHOLE, **changes)
    # Not jitted: the models share their operations, which so are compiled once for all.
    return jax.device_get(trace_of(config, params_of(config, params), frames, sound))


def trace_of(config: ModelConfig, params, frames=FRAMES, sound=SOUND):
    """`trace` of any model."""
    layers = []
    note = lambda _, *tokens: layers.append(tokens)  # noqa: E731
    return bind(config, params)(frames, sound, on_layer=note), *zip(*layers, strict=True)


def same(first, second) -> list[bool]:
    """By layer, whether tokens are equal to the bit."""
    return [np.array_equal(a, b) for a, b in zip(first, second, strict=True)]


def test_without_fusion_the_encoders_meet_in_the_sum_of_their_features_alone():
    logits, image, audio = trace(fusion="none")
    of_sound, image_of_sound, _ = trace(sound=OTHER_SOUND, fusion="none")
    of_frames, _, audio_of_frames = trace(frames=OTHER_FRAMES, fusion="none")
    assert all(same(image, image_of_sound) + same(audio, audio_of_frames))
    assert np.abs(of_sound - logits).min() > 1e-4
    assert np.abs(of_frames - logits).min() > 1e-4


@pytest.mark.parametrize("fusion", ["to_image", "to_audio"])
def test_fusion_in_one_direction_tells_one_side_alone(fusion):
    _, image, audio = trace(fusion=fusion)
    _, image_of_sound, _ = trace(sound=OTHER_SOUND, fusion=fusion)
    _, _, audio_of_frames = trace(frames=OTHER_FRAMES, fusion=fusion)
    assert same(image, image_of_sound) == [fusion == "to_audio"] * 4
    assert same(audio, audio_of_frames) == [fusion == "to_image"] * 4
    both = trace()  # after the first layer the side that is told is told the same
    assert np.array_equal(both[1][0], image[0]) == (fusion == "to_image")
    assert np.array_equal(both[2][0], audio[0]) == (fusion == "to_audio")


@pytest.mark.parametrize("layer", [1, 2])
def test_fusion_at_one_layer_changes_nothing_before_it(layer):
    _, image, audio = trace(fusion_layers=(layer,))
    _, image_of_sound, _ = trace(sound=OTHER_SOUND, fusion_layers=(layer,))
    _, _, audio_of_frames = trace(frames=OTHER_FRAMES, fusion_layers=(layer,))
    untold = [i < layer for i in range(4)]
    assert same(image, image_of_sound) == same(audio, audio_of_frames) == untold
    # It is the whole model with the other gates closed.
    closed = {
        path: x * 0 if "_gate" in path and f".{layer}." not in path else x
        for path, x in PARAMS.items()
    }
    for found, expected in zip((image, audio), trace(params=closed)[1:], strict=True):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_pooling_by_attention_starts_as_the_mean_and_can_look_at_one_token():
    mean = trace()
    start = trace(fusion_pooling="attention")  # whose queries `params_of` makes 0
    for found, expected in zip(jax.tree.leaves(start), jax.tree.leaves(mean), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-6)
    config = changed(WHOLE, fusion_pooling="attention")
    z = np.random.default_rng(1).standard_normal((2, 5, 8)).astype(np.float32)
    query = 1e3 * z[0, 3]

    @jax.jit
    def pooled(params, z):
        return bind(config, params).fusion[0]._pooled(z, "audio")

    found = pooled({**params_of(config), "fusion.0.audio_query": query}, z)
    products = z @ query
    np.testing.assert_allclose(found, z[np.arange(2), products.argmax(axis=1)], atol=1e-6)
    assert products[0].argmax() == 3


@pytest.mark.parametrize(("alone", "other"), [("image", "audio"), ("audio", "image")])
def test_one_encoder_alone_is_the_whole_model_without_the_others_feature(alone, other):
    logits, image, audio = trace(modalities=alone)
    assert (image if alone == "audio" else audio) == (None,) * 4
    ignored = {"image": {"frames": OTHER_FRAMES}, "audio": {"sound": OTHER_SOUND}}
    np.testing.assert_array_equal(trace(modalities=alone, **ignored[other])[0], logits)
    assert np.abs(trace(modalities=alone, **ignored[alone])[0] - logits).min() > 1e-4
    norm = f"{other}_encoder.norm."
    without = {path: x * 0 if path.startswith(norm) else x for path, x in PARAMS.items()}
    np.testing.assert_allclose(logits, trace(fusion="none", params=without)[0], atol=1e-6)
    left = {path.split(".")[0] for path in abstract_params(changed(WHOLE, modalities=alone))}
    assert left == {f"{alone}_encoder", "project", "temporal", "classifier"}


def test_one_encoder_of_another_width_or_depth_has_a_head_of_its_own():
    for alone, width in (("image", 16), ("audio", 24)):
        config = changed(
            WHOLE, audio_width=24, audio_heads=2, audio_depth=6, modalities=alone, stages=1
        )
        shapes = abstract_params(config)
        assert shapes["project.kernel"].shape == (width, 16)
        assert "project_audio.kernel" not in shapes
        assert config.depth == config.encoders[alone].depth
        logits = jax.eval_shape(apply_fn(config), shapes, FRAMES, SOUND)
        assert logits.shape == (2, 3)


def test_the_mean_over_frames_knows_no_order_and_the_temporal_transformer_does():
    order = [2, 0, 1]
    for depth, invariant in ((0, True), (1, False)):
        first = trace(temporal_depth=depth)[0]
        other = trace(frames=FRAMES[:, order], temporal_depth=depth)[0]
        assert (np.abs(first - other).max() < 1e-5) == invariant
    assert not any("temporal" in path for path in abstract_params(changed(WHOLE, temporal_depth=0)))


def test_prompts_are_where_they_are_wanted_and_nowhere_else():
    tokens = {"image": 1 + 4, "audio": 1 + 6}
    for prompted, prompts in (("both", 2), ("image", 2), ("audio", 2), ("both", 0)):
        config = changed(WHOLE, prompted=prompted, prompts=prompts)
        _, *found = jax.eval_shape(lambda config=config: trace_of(config, params_of(config)))
        for side, of_layers in zip(("image", "audio"), found, strict=True):
            expected = prompts if prompted in ("both", side) else 0
            assert {x.shape[1] - tokens[side] for x in of_layers[:3]} == {expected}
            own = [path for path in abstract_params(config) if f"{side}_encoder.p" in path]
            assert any("prompts" in path for path in own) == (expected > 0)


def test_prompts_at_the_input_alone_are_one_stage_whose_renewal_adds_nothing():
    renewals = [path for path in PARAMS if "progressive" in path]
    silent = PARAMS | {path: np.zeros((2, 16), np.float32) for path in renewals}
    input_alone = trace(stages=0)[0]
    np.testing.assert_allclose(input_alone, trace(params=silent)[0], atol=1e-6)
    assert np.abs(trace()[0] - input_alone).max() > 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"fusion": "to_audio", "fusion_pooling": "attention"},
        {"modalities": "audio", "prompts": 0},
    ],
    ids=str,
)
def test_layers_in_a_scan_compute_the_same(changes):
    config, key = changed(WHOLE, **changes), jax.random.key(0)
    params = random_params(config)
    loop, scan = (
        apply_fn(config, Compute(layers=layers))(params, FRAMES, SOUND, key)
        for layers in ("loop", "scan")
    )
    np.testing.assert_allclose(scan, loop, atol=1e-5)


def test_a_scan_is_refused_where_some_layers_fuse_only():
    config = changed(WHOLE, fusion_layers=(1,))
    with pytest.raises(UserError, match=r"fusion_layers \(1,\) fuses after some.*'loop'"):
        Compute(layers="scan").on("cpu", config)
    assert Compute(layers="scan").on("cpu", changed(WHOLE, fusion_layers=(0, 1, 2)))


# The paper's sizes, of which a model of two layers is counted, because it is declared faster.
D, W, R, L = 768, 512, 128, 2
TWO_LAYERS = changed(ModelConfig(), depth=L)


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


BLOCK = 2 * 2 * D + linear(D, 3 * D) + linear(D, D) + linear(D, 4 * D) + linear(4 * D, D)
ENCODER = {"image": D + L * BLOCK + 2 * D + linear(3 * 256, D)}
ENCODER["audio"] = ENCODER["image"] - 2 * 256 * D
POSITIONS = {"image": 197 * D, "audio": 257 * D}
PROMPTS = 6 * D + 6 * D + 2 * 3 * D  # tokens, their positions, what renews them
DOWN, UP = linear(D, R) + 2 * R, linear(R, D) + 1  # with its norm; with its gate
FUSION = L * 2 * (DOWN + UP)
TEMPORAL_LAYER = 4 * 2 * W + 3 * W * W + linear(W, W) + linear(W, 1024) + linear(1024, W)
TEMPORAL = W + 17 * W + TEMPORAL_LAYER
HEAD = linear(D, W) + TEMPORAL + linear(W, 7)
TRAINED = sum(POSITIONS.values()) + 2 * PROMPTS + FUSION + HEAD
ALL = TRAINED + sum(ENCODER.values())


def test_the_arithmetic_is_the_papers():
    assert TRAINED + 10 * 2 * (DOWN + UP) == 7_632_415
    assert ALL + 10 * 2 * (DOWN + UP + BLOCK) == 178_533_919


@pytest.mark.parametrize(
    ("changes", "trained"),
    [
        ({}, TRAINED),
        ({"prompts": 0}, TRAINED - 2 * PROMPTS),
        ({"prompts": 6}, TRAINED + 2 * PROMPTS),
        ({"stages": 0}, TRAINED - 2 * (3 + 3 + 6) * D),
        ({"stages": 1}, TRAINED - 2 * (3 + 3 + 3) * D),
        ({"prompted": "image"}, TRAINED - PROMPTS),
        ({"fusion": "none"}, TRAINED - FUSION),
        ({"fusion": "to_image"}, TRAINED - L * UP),
        ({"fusion_layers": (1,)}, TRAINED - FUSION // L),
        ({"fusion_pooling": "attention"}, TRAINED + L * 2 * R),
        ({"fusion_pooling": "attention", "fusion": "to_audio"}, TRAINED + L * (R - UP)),
        ({"bottleneck": 64}, TRAINED - L * 2 * 64 * (2 * D + 3)),
        ({"temporal_depth": 0}, TRAINED - TEMPORAL),
        ({"temporal_depth": 3}, TRAINED + 2 * TEMPORAL_LAYER),
        ({"num_frames": 32}, TRAINED + 16 * W),
        ({"modalities": "image"}, TRAINED - FUSION - PROMPTS - POSITIONS["audio"]),
        ({"modalities": "audio"}, TRAINED - FUSION - PROMPTS - POSITIONS["image"]),
    ],
    ids=str,
)
def test_what_trains_is_counted_by_what_is_there(changes, trained):
    config = changed(TWO_LAYERS, **changes)
    shapes = abstract_params(config)
    found, frozen = split(shapes, freeze_labels(shapes, default.get_config().freeze))
    assert count(found) == trained
    assert count(frozen) == sum(ENCODER[side] for side in config.encoders)
    freeze_labels(shapes, demo.get_config().freeze)


REST = (r".*", "trained")
ENCODERS = (r"(image|audio)_encoder\..*", "frozen")
GIVEN = r"(image|audio)_encoder\.(prompts|progressive_prompts\.\d+|pos_embed)"
LAST = (r"(image|audio)_encoder\.blocks\.1\..*", "trained")


@pytest.mark.parametrize(
    ("rules", "trained"),
    [
        ((REST,), ALL),
        ((ENCODERS, REST), HEAD + FUSION),
        ((*default.get_config().freeze[:2], (GIVEN, "frozen"), REST), HEAD + FUSION),
        (((GIVEN, "trained"), ENCODERS, REST), TRAINED),
        ((LAST, *default.get_config().freeze), TRAINED + 2 * BLOCK),
        (((r"(project|temporal|classifier)\..*", "trained"), (r".*", "frozen")), HEAD),
    ],
    ids=["all", "no encoder", "no positions", "positions and prompts", "last layer", "head"],
)
def test_rules_say_how_much_of_the_encoders_trains(rules, trained):
    shapes = abstract_params(TWO_LAYERS)
    found, frozen = split(shapes, freeze_labels(shapes, rules))
    assert (count(found), count(frozen)) == (trained, ALL - trained)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modalities": "text"}, r"modalities is 'text'; expected one of \('both', 'image', 'aud"),
        ({"prompted": "none"}, "prompted is 'none'; expected one of"),
        ({"fusion": "off"}, "fusion is 'off'; expected one of"),
        ({"fusion_pooling": "max"}, r"fusion_pooling is 'max'; expected one of \('mean', 'atten"),
        ({"prompts": -1}, "prompts is -1; expected whole numbers from 0 on"),
        ({"temporal_depth": -1}, "temporal_depth is -1; expected whole numbers from 0 on"),
        ({"fusion_layers": (0.5,)}, r"fusion_layers is \(0.5,\); expected whole numbers from 0"),
        ({"fusion_layers": (1, 3)}, r"fusion_layers is \(1, 3\); expected .* of 0 to 2"),
        ({"fusion_layers": (1, 1)}, r"fusion_layers is \(1, 1\); expected .*each once"),
        ({"fusion_layers": (2, 0)}, "expected rising numbers of meetings"),
        ({"fusion": "none", "fusion_layers": (1,)}, r"'none', but .*\(1,\) fuses; expected \(\)"),
        ({"modalities": "image", "prompted": "audio"}, "leaves that encoder out; expected 'both'"),
        ({"modalities": "image", "fusion": "to_image"}, "nothing to be fused with"),
        ({"modalities": "audio", "fusion_layers": (0,)}, "nothing to be fused with"),
    ],
)
def test_parts_that_cannot_be_meant_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        changed(WHOLE, **changes)
