import json
import re
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
import torch

from mmadfer_jax import card
from mmadfer_jax.card import ModelCard
from mmadfer_jax.convert import convert
from mmadfer_jax.errors import UserError
from mmadfer_jax.export import export
from mmadfer_jax.models.config import ModelConfig
from mmadfer_jax.models.params import apply_fn
from mmadfer_jax.weights.files import read_tensors, write_safetensors
from mmadfer_jax.weights.initial import Encoders, initial_params
from mmadfer_jax.weights.model_files import read_model, save_model
from tests import sizes as sizes_of
from tests.foreign_files import prefixed, save_torch, timm
from tests.golden_weights import random_params, relative_error
from tests.sizes import changed
from tests.torch_twin import random_twin, tensors_of

# Sizes that a released checkpoint of any size tells: heads of 64 channels, 128 mel bands.
SIZES = changed(
    ModelConfig(),
    num_classes=7,
    num_frames=3,
    image_shape=48,
    audio_shape=(48, 128),
    width=64,
    depth=2,
    heads=1,
    mlp_dim=40,
    prompts=2,
    stages=2,
    bottleneck=8,
    temporal_width=24,
    temporal_depth=3,
    temporal_heads=2,
    temporal_head_dim=64,
    temporal_mlp_dim=20,
)
TWIN = random_twin(SIZES)


def card_of(model: ModelConfig) -> ModelCard:
    return ModelCard(model, classes=tuple("abcdefg"))


def start(config: ModelConfig, image_weights):
    return initial_params(config, seed=0, encoders=Encoders.read(image_weights=image_weights))


RELEASED = prefixed(tensors_of(TWIN), "module.")


@pytest.fixture
def released(tmp_path):
    return save_torch(tmp_path / "fold1.pth", RELEASED, "state_dict", epoch=24)


def assert_same_tensors(path, expected=RELEASED):
    found = read_tensors(path).tensors
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_classes": 11, "num_frames": 16, "temporal_depth": 1},
        {"image_shape": 32, "image_patch": 8, "image_stride": 8, "audio_shape": (512, 128)},
        {"depth": 3, "stages": 3, "prompts": 4, "width": 128, "heads": 2, "bottleneck": 5},
    ],
    ids=lambda changes: "-".join(changes) or "small",
)
def test_every_size_is_read_off_a_released_checkpoint(tmp_path, changes):
    config = changed(SIZES, **changes)
    tensors = prefixed(tensors_of(random_twin(config)), "module.")
    path = save_torch(tmp_path / "x", tensors, "state_dict")
    assert read_model(path).card.model == config


def test_a_released_checkpoint_answers_as_its_twin(released):
    model = read_model(released)
    rng = np.random.default_rng(0)
    frames = rng.random((2, 3, 48, 48, 3), np.float32)
    sound = rng.standard_normal((2, 48, 128), np.float32)
    found = jax.jit(apply_fn(model.card.model))(model.params, frames, sound)
    normalised = (sound - SIZES.audio.mean[0]) / np.float32(SIZES.audio.std[0])
    with torch.no_grad():
        images = torch.from_numpy(frames).permute(0, 1, 4, 2, 3)
        expected = TWIN(images, torch.from_numpy(normalised)[:, None])
    assert relative_error(found, expected.numpy()) < 1e-4  # measured 1e-6
    names = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
    assert model.card.classes == names
    assert "no class names" in model.card.notes[0]


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_in_and_out_again_is_bit_identical(tmp_path, released, ending):
    own, out = tmp_path / "own.safetensors", tmp_path / f"out.{ending}"
    convert(released, own)
    export(own, out)
    assert_same_tensors(out)
    direct = tmp_path / f"direct.{ending}"
    export(released, direct)
    assert_same_tensors(direct)


def test_what_goes_out_loads_strictly_in_pytorch(tmp_path, released):
    export(released, tmp_path / "out.pth")
    content = torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"]
    module = torch.nn.Module()  # as torch.nn.DataParallel holds a model
    module.module = random_twin(SIZES, seed=9)
    module.load_state_dict(content, strict=True)
    for name, tensor in tensors_of(module.module).items():
        np.testing.assert_array_equal(tensor, RELEASED["module." + name])


def test_a_model_that_saw_no_released_checkpoint_goes_out_with_zero_heads(tmp_path):
    params = random_params(SIZES)
    save_model(tmp_path / "x.pth", params, card_of(SIZES), layout="authors")
    found = read_tensors(tmp_path / "x.pth").tensors
    assert found.keys() == RELEASED.keys()
    assert found["module.audio_model.head.weight"].shape == (1000, 64)
    assert not found["module.image_encoder.head.weight"].any()


@pytest.mark.parametrize(
    ("layout", "ending"), [("own", "safetensors"), ("authors", "safetensors"), ("authors", "pth")]
)
def test_our_files_say_all_that_they_need(tmp_path, layout, ending):
    config = changed(SIZES, heads=4, temporal_heads=8, temporal_head_dim=16)
    params = random_params(config)
    path = tmp_path / f"x.{ending}"
    card = ModelCard(
        model=config,
        classes=tuple("abcdefg"),
        preparation={"sample_rate": "native"},
        frame_order="text",
        missing_sound="mean",
        sources={"seed": 0},
        data={"name": "toy"},
        training={"epochs": 2},
        figures={"uar": 0.5},
        notes=("ünder test",),
    )
    save_model(path, params, card, layout=layout)
    found = read_model(path)
    assert found.card == card
    assert found.params.keys() == params.keys()
    assert all(np.array_equal(found.params[name], params[name]) for name in params)


def test_a_card_of_another_format_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(card, "CARD_FORMAT", 0)
    save_model(tmp_path / "x.safetensors", random_params(SIZES), card_of(SIZES), layout="own")
    monkeypatch.undo()
    with pytest.raises(
        UserError, match=r"x\.safetensors has a model card of format 0; this"
    ) as error:
        read_model(tmp_path / "x.safetensors")
    assert "\n" not in str(error.value)


def test_one_error_names_everything_wrong(tmp_path):
    tensors = dict(RELEASED)
    del tensors["module.image_encoder.all_gate.1"], tensors["module.our_classifier.bias"]
    tensors["module.audio_model.extra"] = np.ones(1, np.float32)
    name = "module.temporal_net.temporal_transformer.layers.2.1.fn.fn.net.3.weight"
    tensors[name] = tensors[name][:, 1:]
    with pytest.raises(UserError) as error:
        read_model(save_torch(tmp_path / "x", tensors, "state_dict"))
    text = str(error.value)
    assert "2 missing: image_encoder.all_gate.1; our_classifier.bias" in text
    assert "1 unexpected: audio_model.extra" in text
    assert "1 of another shape: temporal_net.temporal_transformer.layers.2.1.fn" in text
    assert "(24, 19), expected (24, 20)" in text


PLAIN = {name.removeprefix("module."): x for name, x in RELEASED.items()}


def other(tensors):
    return {name: x + 1 for name, x in tensors.items()}


@pytest.mark.parametrize(
    "tensors",
    [
        PLAIN,
        prefixed(PLAIN, "module._orig_mod."),
        prefixed(PLAIN, "_orig_mod.module."),
        {re.sub(r"(\.\d+\.)", r"\1_orig_mod.", n): x for n, x in RELEASED.items()},
        prefixed(PLAIN, "model."),
        prefixed(PLAIN, "_forward_module.net._orig_mod."),
        prefixed(PLAIN, "ema.module."),
        RELEASED | prefixed(other(RELEASED), "model_ema."),
        prefixed(PLAIN, "model.") | prefixed(other(PLAIN), "ema_model."),
    ],
    ids=[
        *("bare", "both", "both-turned", "layers", "lightning", "all", "ema-alone"),
        *("ema-beside", "ema-beside-prefixed"),
    ],
)
def test_what_training_programs_put_around_names_is_understood(tmp_path, released, tensors):
    found = read_model(save_torch(tmp_path / "x", tensors, "state_dict"))
    whole = read_model(released)
    params, config, expected, same = found.params, found.card.model, whole.params, whole.card.model
    assert config == same
    assert all(np.array_equal(params[name], expected[name]) for name in expected)
    assert found.leftovers.keys() == whole.leftovers.keys()


def test_of_two_models_none_is_taken(tmp_path):
    tensors = prefixed(PLAIN, "student.") | prefixed(PLAIN, "teacher.")
    with pytest.raises(UserError, match=r"names begin with student\., teacher\."):
        read_model(save_torch(tmp_path / "x", tensors, "state_dict"))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_models_of_other_precision_become_float32(tmp_path, released, dtype):
    tensors = {name: x.astype(dtype) for name, x in RELEASED.items()}
    path = save_torch(tmp_path / "x", tensors, "state_dict")
    found = read_model(path)
    params, config = found.params, found.card.model
    assert config == SIZES
    assert all(x.dtype == np.float32 for x in params.values())
    name = "module.temporal_net.pos_embedding"
    np.testing.assert_array_equal(
        params["temporal.pos_embedding"], tensors[name].astype(np.float32)
    )


def test_numbers_that_are_not_finite_are_refused_by_name(tmp_path, released):
    convert(released, tmp_path / "own.safetensors")
    own = read_tensors(tmp_path / "own.safetensors")
    tensors = {**own.tensors, "classifier.bias": np.full(7, np.nan, np.float32)}
    write_safetensors(tmp_path / "own.safetensors", tensors, own.own)
    with pytest.raises(UserError, match=r"1 with NaN .*: classifier\.bias \(7 of 7\)"):
        read_model(tmp_path / "own.safetensors")
    tensors = {
        **RELEASED,
        "module.image_encoder.pos_embed": RELEASED["module.image_encoder.pos_embed"] * np.inf,
    }
    with pytest.raises(UserError, match=r"1 with NaN .*: image_encoder\.pos_embed \(\d+ of"):
        read_model(save_torch(tmp_path / "x", tensors, "state_dict"))


@pytest.mark.parametrize(
    "changes",
    [
        {"module.image_encoder.blocks.999999999.norm1.bias": np.ones(64, np.float32)},
        {"module.image_encoder.learnable_prompts_progr.999999999": np.ones((2, 64), np.float32)},
        {"module.audio_model.patch_embed.proj.weight": np.ones((64, 1, 16, 200), np.float32)},
        {"module.image_encoder.cls_token": np.ones((1, 1, 10_000_000), np.float32)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_absurd_tensors_are_refused_in_words(tmp_path, changes):
    with pytest.raises(UserError, match=r"no square and no grid|does not fit|is not a multiple"):
        read_model(save_torch(tmp_path / "x", RELEASED | changes, "state_dict"))


def test_a_class_count_that_does_not_fit_is_refused(tmp_path, released):
    with pytest.raises(UserError, match=r"3 class names \(a, b, c\) for 7 logits"):
        convert(released, tmp_path / "x.safetensors", classes=("a", "b", "c"))
    classes = tuple("gfedcba")
    convert(released, tmp_path / "x.safetensors", classes=classes)
    assert read_model(tmp_path / "x.safetensors").card.classes == classes


def test_what_a_released_file_does_not_say_can_be_said(tmp_path, released):
    own = tmp_path / "x.safetensors"
    assert convert(released, own)["frame_order"] == "time"
    convert(released, own, frame_order="text", missing_sound="mean")
    reading = read_model(own).card.reading
    assert reading.frame_order == "text"
    assert reading.missing_sound == read_model(own).card.model.audio.mean[0]
    encoder = save_torch(tmp_path / "mae.pth", timm(), "model")
    with pytest.raises(UserError, match="is no whole model; --frame_order is for those"):
        convert(encoder, own, frame_order="text")


def test_an_encoder_is_no_whole_model_and_the_other_way_round(tmp_path, released):
    encoder = save_torch(tmp_path / "mae.pth", timm(), "model")
    with pytest.raises(UserError, match=r"is no MMA-DFER model.*goes into config\.image_weights"):
        read_model(encoder)
    with pytest.raises(UserError, match="is a whole MMA-DFER model, not an encoder"):
        Encoders.read(image_weights=released)


@pytest.mark.parametrize(
    ("out", "layout", "message"),
    [
        ("x.onnx", "authors", r"a name that ends in \.safetensors or \.pth"),
        ("x.pth", "own", r"a name that ends in \.safetensors"),
        ("nowhere/x.pth", "authors", "no such directory"),
        ("x.pth", "theirs", "layout is 'theirs'"),
    ],
)
def test_bad_targets_are_refused_before_anything_is_read(tmp_path, out, layout, message):
    with pytest.raises(UserError, match=message):
        export(tmp_path / "is_not_there.pth", tmp_path / out, layout)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (sizes_of.AST, "model.audio.special_tokens is 2, there it is 1"),
        ({"image_mean": (0.5,) * 3}, r"model.image.mean is \(0.5, 0.5, 0.5\)"),
        ({"image_norm_eps": 1e-12}, "model.image.norm_eps is 1e-12"),
        ({"image_stride": 8}, r"model.image.stride is \(8, 8\), there patches of"),
        ({"depth": 3}, "2 stages do not divide 3 layers"),
        ({"image_depth": 4}, "encoders have 4 and 2 layers, there equal"),
        ({"audio_width": 32}, "widths are 64 and 32, there equal"),
        ({"modalities": "image"}, "model.modalities is 'image', there it is 'both'"),
        ({"modalities": "audio"}, "model.modalities is 'audio', there it is 'both'"),
        ({"prompts": 0}, "model.prompts is 0, there 1 or more"),
        ({"stages": 0}, "model.stages is 0, there 1 or more"),
        ({"prompted": "audio"}, "model.prompted is 'audio', there it is 'both'"),
        ({"fusion": "none"}, "model.fusion is 'none', there it is 'both'"),
        ({"fusion_layers": (1,)}, r"model.fusion_layers is \(1,\), there every layer is fused"),
        ({"fusion_pooling": "attention"}, "model.fusion_pooling is 'attention', there it is 'mean"),
        ({"temporal_depth": 0}, "model.temporal_depth is 0, there 1 or more"),
    ],
)
def test_what_the_authors_program_cannot_compute_does_not_go_out_to_it(tmp_path, changes, message):
    config = changed(SIZES, **changes)
    params = random_params(config)
    with pytest.raises(UserError, match=f"cannot compute this model: .*{message}.*--layout=own"):
        save_model(tmp_path / "x.pth", params, card_of(config), layout="authors")
    save_model(tmp_path / "x.safetensors", params, card_of(config), layout="own")
    found = read_model(tmp_path / "x.safetensors")
    assert found.card.model == config
    assert all(np.array_equal(found.params[name], params[name]) for name in params)


def test_a_converted_encoder_loads_as_its_source(tmp_path):
    config = changed(
        SIZES, width=48, heads=3, mlp_dim=96, image_patch=4, image_stride=4, image_shape=20
    )
    source, own = save_torch(tmp_path / "mae.pth", timm(), "model"), tmp_path / "own.safetensors"
    found = convert(source, own)
    assert (found["kind"], found["use"]) == ("mae", "config.image_weights")
    assert found["suggested"]["model.image.norm_eps"] == 1e-6
    config = changed(config, heads=1)  # the file cannot tell another number
    expected, _ = start(config, source)
    params, sources = start(config, own)
    assert sources["image"]["kind"] == "mae"
    assert all(np.array_equal(params[name], expected[name]) for name in expected)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def test_the_commands(tmp_path, released):
    own, out = tmp_path / "own.safetensors", tmp_path / "out.pth"
    result = run("mmadfer_jax.convert", released, f"--out={own}")
    assert result.returncode == 0, result.stderr
    assert read_tensors(released).sha256 in result.stdout
    result = run("mmadfer_jax.export", f"--checkpoint={own}", f"--out={out}")
    assert result.returncode == 0, result.stderr
    assert_same_tensors(out)
    result = run("mmadfer_jax.convert", tmp_path / "none.pth", f"--out={own}")
    assert result.returncode == 1
    assert result.stderr.startswith("error: no such file: ")
    assert "Traceback" not in result.stderr


def test_our_own_model_loads_without_torch(tmp_path, released):
    convert(released, tmp_path / "own.safetensors")
    program = (
        "import sys; from mmadfer_jax.weights.model_files import read_model\n"
        "read_model(sys.argv[1])\n"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "own.safetensors")]
    subprocess.run(command, check=True, timeout=300)


def test_the_description_of_our_files_is_plain_json(tmp_path, released):
    convert(released, tmp_path / "own.safetensors")
    own = json.loads(read_tensors(tmp_path / "own.safetensors").metadata["mmadfer_jax"])
    assert own["content"] == "model"
    assert ModelConfig.from_dict(own["card"]["model"]) == SIZES
