import re
from pathlib import Path

import jax
import numpy as np
import pytest

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import FROM_FILE, VIT_B_SPECTROGRAM, ModelConfig
from mmadfer_jax.models.params import abstract_params, apply_fn
from mmadfer_jax.weights import initial
from mmadfer_jax.weights.files import read_tensors
from mmadfer_jax.weights.initial import Encoders, initial_params, params_from_model
from mmadfer_jax.weights.positions import resize
from tests import sizes as sizes_of
from tests.foreign_files import DEPTH, HEADS, MLP, WIDTH, hugging_face, prefixed, save_torch, timm
from tests.golden_weights import random_params
from tests.sizes import changed, sizes

CONFIG = sizes(
    num_frames=2,
    image_shape=12,
    image_patch=4,
    image_stride=4,
    audio_shape=(16, 12),
    audio_patch=(4, 4),
    audio_stride=(4, 4),
    width=WIDTH,
    depth=DEPTH,
    heads=HEADS,
    mlp_dim=MLP,
    prompts=2,
    stages=2,
    bottleneck=8,
    temporal_width=16,
    temporal_heads=2,
    temporal_head_dim=8,
    temporal_mlp_dim=16,
)
AST_CONFIG = changed(CONFIG, **sizes_of.AST | {"audio_stride": (2, 4)})

IMAGE = timm()
AUDIO = timm(channels=1, patches=8 * 3, seed=1)  # 32 time steps of 12 bands
AST = timm(channels=1, patches=3 * 15, specials=2, seed=2)  # frequency-major, 32 time steps


def start(config: ModelConfig, seed: int = 0, **files: str | Path):
    """Parameters before the first step, and where they come from."""
    return initial_params(config, seed=seed, encoders=Encoders.read(**files))


@pytest.fixture
def files(tmp_path):
    head = {"head.weight": np.ones((3, WIDTH), np.float32)}
    return {
        "mae": save_torch(tmp_path / "mae.pth", IMAGE, "model"),
        "vit": save_torch(tmp_path / "vit.pth", IMAGE | head),
        "hf": save_torch(tmp_path / "hf.bin", hugging_face(IMAGE)),
        "audiomae": save_torch(tmp_path / "audiomae.pth", AUDIO, "model"),
        "ast": save_torch(tmp_path / "ast.pth", prefixed(AST, "module.v.")),
    }


def test_everything_is_filled_and_the_rest_is_drawn_by_the_seed(files):
    drawn, sources = initial_params(CONFIG, seed=3)
    assert sources["image"] == sources["audio"] == {"kind": "random"}
    params, sources = start(
        CONFIG, seed=3, image_weights=files["mae"], audio_weights=files["audiomae"]
    )
    shapes = {path: x.shape for path, x in abstract_params(CONFIG).items()}
    assert {path: x.shape for path, x in params.items()} == shapes
    assert all(x.dtype == np.float32 for x in params.values())
    loaded = r"encoder\.(blocks|patch_embed|norm|cls_token|pos_embed)"
    for path in params:
        if not re.search(loaded, path):
            np.testing.assert_array_equal(params[path], drawn[path], err_msg=path)
    np.testing.assert_array_equal(params["image_encoder.cls_token"], IMAGE["cls_token"])
    np.testing.assert_array_equal(
        np.hstack(params["audio_encoder.blocks.1.attn.qkv.kernel"]),
        AUDIO["blocks.1.attn.qkv.weight"].T,
    )
    assert sources["image"]["kind"] == "mae"
    assert sources["audio"]["kind"] == "audiomae"
    assert len(sources["image"]["sha256"]) == 64


def test_positions_are_resized_and_those_of_prompts_stay_drawn(files):
    config = changed(CONFIG, image_shape=20)
    drawn, _ = initial_params(config, seed=0)
    params, sources = start(config, image_weights=files["mae"], audio_weights=files["audiomae"])
    found = params["image_encoder.pos_embed"][0]
    grid = resize(IMAGE["pos_embed"][0, 1:].reshape(3, 3, WIDTH), (5, 5))
    np.testing.assert_array_equal(found[0], IMAGE["pos_embed"][0, 0])
    np.testing.assert_array_equal(found[1:26], grid.reshape(25, WIDTH))
    np.testing.assert_array_equal(found[26:], drawn["image_encoder.pos_embed"][0, 26:])
    assert len(found) == 30
    audio = params["audio_encoder.pos_embed"][0, 1:13]
    grid = resize(AUDIO["pos_embed"][0, 1:].reshape(8, 3, WIDTH), (4, 3))
    np.testing.assert_array_equal(audio, grid.reshape(12, WIDTH))
    assert sources["image"]["grid"] == {"from": [3, 3], "to": [5, 5], "how": "interpolate"}
    assert sources["audio"]["grid"] == {"from": [8, 3], "to": [4, 3], "how": "interpolate"}


def test_audio_positions_can_be_cut_instead(files):
    params, sources = start(CONFIG, audio_weights=files["audiomae"], audio_positions="cut")
    expected = AUDIO["pos_embed"][0, : 1 + 12]
    np.testing.assert_array_equal(params["audio_encoder.pos_embed"][0, :13], expected)
    assert sources["audio"]["grid"]["how"] == "cut"
    with pytest.raises(UserError, match=r"audio_positions is 'slice'; expected one of"):
        start(CONFIG, audio_positions="slice")


def test_ast_positions_are_cropped_in_time(files):
    params, sources = start(AST_CONFIG, audio_weights=files["ast"])
    found = params["audio_encoder.pos_embed"][0]
    np.testing.assert_array_equal(found[:2], AST["pos_embed"][0, :2])
    grid = AST["pos_embed"][0, 2:].reshape(3, 15, WIDTH)[:, 4:11]  # 15 // 2 - 7 // 2 = 4
    np.testing.assert_array_equal(found[2:23], grid.reshape(21, WIDTH))
    np.testing.assert_array_equal(params["audio_encoder.dist_token"], AST["dist_token"])
    assert sources["audio"]["grid"] == {"from": [3, 15], "to": [3, 7], "how": "crop"}


def test_ast_of_the_paper_has_600_patches_here():
    config = changed(ModelConfig(), **sizes_of.AST)
    assert config.audio.grid == (12, 50)
    shape = abstract_params(config)["audio_encoder.pos_embed"].shape
    assert shape == (1, 2 + 12 * 50 + 6, 768)


@pytest.mark.parametrize(
    ("side", "file", "message"),
    [
        ("image", "audiomae", "is a AudioMAE encoder; image_weights takes an image encoder"),
        ("image", "ast", r"is a AST \(original\) encoder; image_weights takes an image encoder"),
        ("audio", "mae", "MAE-Face or another.* audio_weights takes an audio encoder"),
        (
            "audio",
            "ast",
            r"AST.* the model: model\.audio\.special_tokens is 1, the file has 2; model",
        ),
    ],
)
def test_the_wrong_encoder_says_what_it_is(files, side, file, message):
    with pytest.raises(UserError, match=message) as error:
        start(CONFIG, **{f"{side}_weights": files[file]})
    assert "SHA-256" in str(error.value)


def test_one_error_speaks_of_both_files_and_of_every_size(files):
    config = changed(CONFIG, depth=4, mlp_dim=32, image_norm_eps=1e-5)
    with pytest.raises(UserError) as error:
        start(config, image_weights=files["mae"], audio_weights=files["audiomae"])
    text = str(error.value)
    for side in ("image", "audio"):
        assert f"model.{side}.depth is 4, the file has 2" in text
        assert f"model.{side}.mlp_dim is 32, the file has {MLP}" in text
    assert "model.image.norm_eps is 1e-05, the file has 1e-06" in text


def test_files_can_be_pinned(files):
    with pytest.raises(UserError) as error:
        start(
            CONFIG,
            image_weights=files["mae"],
            image_sha256="ab" * 32,
            audio_weights=files["audiomae"],
            audio_sha256="cd" * 32,
        )
    assert "expected " + "ab" * 32 in str(error.value)
    assert "expected " + "cd" * 32 in str(error.value)


def test_positions_that_make_no_grid_are_refused(files):
    config = changed(CONFIG, audio_shape=(16, 20))  # five bands
    with pytest.raises(UserError, match=r"24 patch positions, which make no grid like .* 4x5"):
        start(config, audio_weights=files["audiomae"])


def test_what_a_config_leaves_open_comes_from_the_files(files):
    values = CONFIG.to_dict()
    for side in ("image", "audio"):
        values[side] |= dict.fromkeys(FROM_FILE) | {"heads": HEADS}  # which these files cannot tell
    encoders = Encoders.read(image_weights=files["hf"], audio_weights=files["audiomae"])
    config = ModelConfig.from_dict(encoders.fit(values))
    half = (0.5,) * 3
    audioset = VIT_B_SPECTROGRAM.mean, VIT_B_SPECTROGRAM.std
    assert (config.audio.mean, config.audio.std) == audioset
    config = changed(config, audio_mean=(0.0,), audio_std=(1.0,))
    assert config == changed(CONFIG, image_norm_eps=1e-12, image_mean=half, image_std=half)
    params, sources = initial_params(config, seed=0, encoders=encoders)
    np.testing.assert_array_equal(
        np.hstack(params["image_encoder.blocks.0.attn.qkv.kernel"]),
        IMAGE["blocks.0.attn.qkv.weight"].T,
    )
    assert sources["image"]["normalised_as_in_pretraining"] is True


def test_an_ast_file_makes_an_ast_of_what_is_left_open(files):
    values = CONFIG.to_dict()
    values["audio"] = {"shape": [32, 12], "heads": HEADS, "stride": [2, 4]}
    encoders = Encoders.read(audio_weights=files["ast"])
    config = ModelConfig.from_dict(encoders.fit(values))
    assert (config.audio.special_tokens, config.audio.patch_order) == (2, "columns")
    params, _ = initial_params(config, seed=0, encoders=encoders)
    np.testing.assert_array_equal(params["audio_encoder.dist_token"], AST["dist_token"])


def test_what_a_config_says_stands(files):
    values = CONFIG.to_dict()
    values["image"]["mean"] = [0.1, 0.2, 0.3]
    encoders = Encoders.read(image_weights=files["vit"])
    config = ModelConfig.from_dict(encoders.fit(values))
    assert config.image.mean == (0.1, 0.2, 0.3)
    _, sources = initial_params(config, seed=0, encoders=encoders)
    assert sources["image"]["normalised_as_in_pretraining"] is False


def test_a_file_is_read_once(files, monkeypatch):
    opened = []
    monkeypatch.setattr(
        initial, "read_tensors", lambda path, sha256: opened.append(path) or read_tensors(path)
    )
    encoders = Encoders.read(image_weights=files["mae"], audio_weights=files["audiomae"])
    values = CONFIG.to_dict()
    initial_params(ModelConfig.from_dict(encoders.fit(values)), seed=0, encoders=encoders)
    assert opened == [files["mae"], files["audiomae"]]


def test_image_normalisation_is_part_of_the_model():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    params, _ = initial_params(CONFIG, seed=0)
    rng = np.random.default_rng(0)
    frames = rng.random((1, 2, 12, 12, 3), np.float32)
    sound = rng.standard_normal((1, 16, 12), np.float32)
    normalised = changed(CONFIG, image_mean=mean, image_std=std)
    found = jax.jit(apply_fn(normalised))(params, frames, sound)
    expected = jax.jit(apply_fn(CONFIG))(params, (frames - mean) / np.float32(std), sound)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_classifier_follows_the_order_of_the_classes_or_is_drawn_anew():
    base = changed(CONFIG, num_classes=3)
    params, _ = initial_params(base, seed=0)
    moved = params_from_model(base, params, base, classes=[2, 0, 1], seed=1)
    kernel, bias = params["classifier.kernel"], params["classifier.bias"]
    np.testing.assert_array_equal(moved["classifier.kernel"], kernel[:, [2, 0, 1]])
    np.testing.assert_array_equal(moved["classifier.bias"], bias[[2, 0, 1]])
    drawn = params_from_model(changed(base, num_classes=5), params, base, classes=None, seed=1)
    assert drawn["classifier.kernel"].shape == (16, 5)
    assert all(drawn[p] is x for p, x in params.items() if not p.startswith("classifier."))


def test_an_encoder_alone_takes_its_file_and_needs_no_other(files):
    alone = changed(CONFIG, modalities="image")
    params, sources = start(alone, image_weights=files["mae"])
    assert params.keys() == abstract_params(alone).keys()
    np.testing.assert_array_equal(params["image_encoder.cls_token"], IMAGE["cls_token"])
    assert sources.keys() == {"seed", "image"}


def test_positions_of_an_encoder_without_prompts_are_those_of_its_file(files):
    params, _ = start(changed(CONFIG, prompted="audio"), image_weights=files["mae"])
    np.testing.assert_array_equal(params["image_encoder.pos_embed"], IMAGE["pos_embed"])


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts": 0, "fusion": "none", "temporal_depth": 0},
        {"prompts": 0, "stages": 0},
        {"prompted": "image", "fusion_layers": (1,)},
        {"fusion": "to_audio"},
        {"modalities": "audio"},
    ],
    ids=str,
)
def test_parts_of_a_whole_model_can_be_left_out(changes):
    params, config = random_params(CONFIG), changed(CONFIG, **changes)
    found = params_from_model(config, params, CONFIG, classes=range(7), seed=0)
    assert {p: x.shape for p, x in found.items()} == {
        p: x.shape for p, x in abstract_params(config).items()
    }
    for path, x in found.items():
        expected = params[path]
        if path.endswith("encoder.pos_embed"):
            expected = expected[:, : x.shape[1]]
        np.testing.assert_array_equal(x, expected, err_msg=path)


def test_fusion_is_added_as_if_it_were_not_there():
    base, config = changed(CONFIG, fusion="to_image"), changed(CONFIG, fusion_pooling="attention")
    params = random_params(base)
    found = params_from_model(config, params, base, classes=range(7), seed=0)
    added = found.keys() - params.keys()
    names = ("audio_up.kernel", "audio_up.bias", "audio_gate", "audio_query", "image_query")
    assert added == {f"fusion.{i}.{name}" for i in range(CONFIG.depth) for name in names}
    assert not any(found[path].any() for path in added if path.endswith(("gate", "query")))
    rng = np.random.default_rng(0)
    frames = rng.random((1, 2, 12, 12, 3), np.float32)
    sound = rng.standard_normal((1, 16, 12), np.float32)
    expected = jax.jit(apply_fn(base))(params, frames, sound)
    np.testing.assert_allclose(jax.jit(apply_fn(config))(found, frames, sound), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": 3}, "model.prompts is 3, there 2"),
        ({"stages": 1}, "model.stages is 1, there 2"),
        ({"temporal_depth": 2}, "model.temporal_depth is 2, there 1"),
        ({"bottleneck": 4}, "model.bottleneck is 4, there 8"),
        ({"num_frames": 3, "prompts": 0}, "model.num_frames is 3, there 2"),
        ({"image_norm_eps": 1e-12}, "model.image.norm_eps is 1e-12, there 1e-06"),
    ],
)
def test_a_whole_model_gives_no_part_of_another_size(changes, message):
    config, params = changed(CONFIG, **changes), random_params(CONFIG)
    with pytest.raises(UserError, match=f"init_from is a model of other sizes: .*{message}"):
        params_from_model(config, params, CONFIG, classes=range(7), seed=0)
    alone = changed(CONFIG, modalities="image")
    with pytest.raises(UserError, match=r"model.modalities is 'both', there 'image'"):
        params_from_model(CONFIG, random_params(alone), alone, classes=range(7), seed=0)
