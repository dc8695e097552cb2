import dataclasses
import re

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from mmadfer_jax.errors import UserError
from mmadfer_jax.weights.encoders import read_encoder
from mmadfer_jax.weights.files import read_tensors
from mmadfer_jax.weights.initial import encoder_from_file
from mmadfer_jax.weights.layout import to_our_axes
from tests.foreign_files import (
    DEPTH,
    HEADS,
    MLP,
    WIDTH,
    hugging_face,
    jax_vit,
    prefixed,
    save_torch,
    timm,
)

IMAGE = timm()
AUDIO = timm(channels=1, patches=24)
AST = timm(channels=1, patches=24, specials=2)
HEAD = {"head.weight": np.ones((10, WIDTH), np.float32), "head.bias": np.ones(10, np.float32)}
DECODER = {
    "mask_token": np.ones((1, 1, 8), np.float32),
    "decoder_pos_embed": np.ones((1, 25, 8), np.float32),
    "decoder_blocks.0.attn.qkv.weight": np.ones((24, 8), np.float32),
}
CLASSIFIER = {"classifier.weight": HEAD["head.weight"], "classifier.bias": HEAD["head.bias"]}
POOLER = {"pooler.dense.weight": np.ones((WIDTH, WIDTH), np.float32)}
AST_HEADS = {
    **{f"v.{name}": x for name, x in HEAD.items()},
    "v.head_dist.weight": HEAD["head.weight"],
    "v.head_dist.bias": HEAD["head.bias"],
    "mlp_head.0.weight": np.ones(WIDTH, np.float32),
    "mlp_head.1.weight": HEAD["head.weight"],
}
AST_HF = prefixed(hugging_face(AST), "audio_spectrogram_transformer.")
AST_CLASSIFIER = {
    "classifier.layernorm.weight": np.ones(WIDTH, np.float32),
    "classifier.dense.weight": HEAD["head.weight"],
}


def assert_same_encoder(encoder, tensors):
    """That `encoder.params` are these tensors of timm's names."""
    expected = {}
    for name, tensor in tensors.items():
        layer = name.removesuffix(".weight")
        ending = "scale" if "norm" in layer.rsplit(".", 1)[-1] else "kernel"
        path = f"{layer}.{ending}" if name.endswith(".weight") else name
        expected[path] = to_our_axes(path, tensor)
    assert encoder.params.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(encoder.params[path], array, err_msg=path)


@pytest.mark.parametrize(
    ("kind", "container", "tensors", "encoder"),
    [
        ("mae", "model", IMAGE, IMAGE),
        ("mae", "model", IMAGE | DECODER, IMAGE),
        ("mae", None, IMAGE | DECODER, IMAGE),
        ("vit-timm", None, IMAGE | HEAD, IMAGE),
        ("vit-timm", "model", IMAGE | HEAD, IMAGE),
        ("vit-timm", "state_dict", prefixed(IMAGE | HEAD, "module."), IMAGE),
        ("audiomae", "model", AUDIO | DECODER, AUDIO),
        ("audiomae", "model", AUDIO, AUDIO),
        ("vit-hf", None, hugging_face(IMAGE) | POOLER, IMAGE),
        ("vit-hf", None, prefixed(hugging_face(IMAGE), "vit.") | CLASSIFIER, IMAGE),
        ("vit-hf", None, prefixed(hugging_face(IMAGE, modules=True), "vit."), IMAGE),
        ("ast", None, prefixed(prefixed(AST, "v.") | AST_HEADS, "module."), AST),
        ("ast", None, prefixed(AST, "v."), AST),
        ("ast-hf", None, AST_HF | AST_CLASSIFIER, AST),
        ("ast-hf", None, hugging_face(AST, modules=True), AST),
    ],
)
def test_pickles_are_recognised_by_their_keys(tmp_path, kind, container, tensors, encoder):
    file = read_tensors(save_torch(tmp_path / "x.bin", tensors, container))
    found = read_encoder(file)
    assert found.kind.name == kind
    assert_same_encoder(found, encoder)


@pytest.mark.parametrize("prefix", ["", "opt/target/"])
def test_original_jax_vit(tmp_path, prefix):
    more = {"pre_logits/kernel": np.ones((WIDTH, WIDTH)), "head/bias": np.ones(10)}
    np.savez(tmp_path / "x.npz", **prefixed(jax_vit(IMAGE) | more, prefix))
    found = read_encoder(read_tensors(tmp_path / "x.npz"))
    assert (found.kind.name, found.heads, found.heads_known) == ("vit-npz", HEADS, True)
    assert_same_encoder(found, IMAGE)


@pytest.mark.parametrize("prefix", ["", "params/", "params/img/"])
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("class_position", [False, True])
def test_big_vision(tmp_path, prefix, stacked, class_position):
    tensors, expected = jax_vit(IMAGE, big_vision=True), dict(IMAGE)
    if not class_position:  # big_vision adds the CLS token after the positions
        tensors["pos_embedding"] = tensors["pos_embedding"][:, 1:]
        expected["pos_embed"] = expected["pos_embed"].copy()
        expected["pos_embed"][:, 0] = 0
    if stacked:
        first, second = ("Transformer/encoderblock_0/", "Transformer/encoderblock_1/")
        for name in [n for n in tensors if n.startswith(first)]:
            layers = tensors.pop(name), tensors.pop(name.replace(first, second))
            tensors[name.replace("_0/", "/", 1)] = np.stack(layers)
    np.savez(tmp_path / "x.npz", **prefixed(tensors, prefix))
    found = read_encoder(read_tensors(tmp_path / "x.npz"))
    assert (found.kind.name, found.heads) == ("vit-big-vision", HEADS)
    assert_same_encoder(found, expected)


def test_attention_of_the_jax_vit_is_the_one_of_its_joined_form(tmp_path):
    """`query/kernel` [D, h, D/h] means einsum("nd,dhk->nhk"), and `out/kernel` its inverse."""
    np.savez(tmp_path / "x.npz", **jax_vit(IMAGE))
    raw = jax_vit(IMAGE)
    params = read_encoder(read_tensors(tmp_path / "x.npz")).params
    x = np.random.default_rng(1).standard_normal((5, WIDTH), np.float32)
    prefix = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/"
    qkv = x @ params["blocks.1.attn.qkv.kernel"] + params["blocks.1.attn.qkv.bias"][:, None]
    for i, name in enumerate(("query", "key", "value")):
        kernel, bias = raw[f"{prefix}{name}/kernel"], raw[f"{prefix}{name}/bias"]
        expected = np.einsum("nd,dhk->nhk", x, kernel) + bias
        found = qkv[i].reshape(5, HEADS, -1)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    heads = x.reshape(5, HEADS, -1)
    expected = np.einsum("nhk,hkd->nd", heads, raw[prefix + "out/kernel"])
    found = x @ params["blocks.1.attn.proj.kernel"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_sizes_are_read_off_the_file(tmp_path):
    tensors = timm(width=64, depth=3, patch=8, patches=16)
    found = read_encoder(read_tensors(save_torch(tmp_path / "x", tensors, "model")))
    config = found.config()
    sizes = [config[name] for name in ("width", "depth", "heads", "mlp_dim", "patch")]
    assert sizes == [64, 3, 1, MLP, (8, 8)]
    assert found.num_patches == 16


@pytest.mark.parametrize(("width", "heads"), [(384, 6), (768, 12), (1024, 16), (1280, 16)])
def test_heads_of_the_published_sizes(tmp_path, width, heads):
    tensors = timm(width=width, depth=1)
    assert read_encoder(read_tensors(save_torch(tmp_path / "x", tensors, "model"))).heads == heads


def inside(tensors, wrapper):
    """The names that `wrapper` gives where each layer is wrapped, as by FSDP or torch.compile."""
    return {re.sub(r"(\.\d+\.)", rf"\1{wrapper}", name): x for name, x in tensors.items()}


def shifted(tensors):
    """Another set of the same tensors."""
    return {name: x + 1 for name, x in tensors.items()}


FAMILIES = {
    "mae": (IMAGE | DECODER, IMAGE),
    "audiomae": (AUDIO, AUDIO),
    "vit-timm": (IMAGE | HEAD, IMAGE),
    "vit-hf": (prefixed(hugging_face(IMAGE), "vit.") | CLASSIFIER, IMAGE),
    "ast": (prefixed(AST, "v.") | AST_HEADS, AST),
    "ast-hf": (AST_HF | AST_CLASSIFIER, AST),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: prefixed(x, "_orig_mod."),
        lambda x: prefixed(x, "module._orig_mod."),
        lambda x: prefixed(x, "_orig_mod.module."),
        lambda x: prefixed(inside(x, "_orig_mod."), "module."),
        lambda x: prefixed(inside(x, "_checkpoint_wrapped_module."), "_fsdp_wrapped_module."),
        lambda x: prefixed(x, "model."),
        lambda x: prefixed(prefixed(x, "_orig_mod.net."), "_forward_module.model."),
        lambda x: prefixed(x, "module.ema."),
        lambda x: prefixed(x, "teacher.backbone."),
        lambda x: x | prefixed(shifted(x), "ema."),
        lambda x: prefixed(x, "model.") | prefixed(shifted(x), "model_ema.module."),
        lambda x: prefixed(x, "net.") | {"model_ema.decay": np.ones(1), "n_averaged": np.ones(1)},
    ],
    ids=[
        *("compiled", "both", "both-turned", "layers", "fsdp", "lightning", "all", "ema-alone"),
        *("teacher-alone", "ema-beside", "ema-beside-prefixed", "ema-flat"),
    ],
)
def test_what_training_programs_put_around_names_is_understood(tmp_path, family, wrap):
    tensors, encoder = FAMILIES[family]
    np.savez(tmp_path / "x.npz", **wrap(tensors))
    file = dataclasses.replace(read_tensors(tmp_path / "x.npz"), container="model")
    found = read_encoder(file)
    assert found.kind.name == family
    assert_same_encoder(found, encoder)


def test_an_optimizer_beside_jax_parameters_is_left_out(tmp_path):
    tensors = jax_vit(IMAGE, big_vision=True)
    beside = prefixed(shifted(tensors), "opt/0/1/mu/params/") | {"opt/0/0/count": np.ones(1)}
    np.savez(tmp_path / "x.npz", **prefixed(tensors, "params/"), **beside)
    assert_same_encoder(read_encoder(read_tensors(tmp_path / "x.npz")), IMAGE)


@pytest.mark.parametrize("prefixes", [("student.", "teacher."), ("net_a.", "net_b.")])
def test_of_two_encoders_none_is_taken(tmp_path, prefixes):
    tensors = prefixed(IMAGE, prefixes[0]) | prefixed(shifted(IMAGE), prefixes[1])
    path = save_torch(tmp_path / "x", tensors, "state_dict")
    expected = rf"names begin with {prefixes[0]}, {prefixes[1]}\. Save one of them alone"
    with pytest.raises(UserError, match=expected):
        read_encoder(read_tensors(path))


def test_the_error_says_what_was_left_out_of_the_names(tmp_path):
    tensors = prefixed(IMAGE, "module._orig_mod.model.") | {"criterion.weight": np.ones(3)}
    del tensors["module._orig_mod.model.norm.bias"]
    expected = (
        r"\(names without _orig_mod\., module\., model\.\), does not fit the model\. "
        r"Tensors 1 missing: norm\.bias\. 1 unexpected: criterion\.weight"
    )
    with pytest.raises(UserError, match=expected):
        read_encoder(read_tensors(save_torch(tmp_path / "x", tensors, "state_dict")))


def save_npz(path, tensors):
    with path.open("wb") as file:
        np.savez(file, **tensors)


WRITERS = {
    "pickle": lambda path, tensors: save_torch(path, tensors, "model"),
    "safetensors": lambda path, tensors: safetensors.numpy.save_file(tensors, path),
    "npz": save_npz,
}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16, ">f4"])
def test_files_of_other_precision_become_float32(tmp_path, write, dtype):
    if dtype == ">f4" and write != "npz":
        dtype = np.float32  # the others know one order of bytes
    other = {name: x.astype(dtype) for name, x in IMAGE.items()}
    WRITERS[write](tmp_path / "x", other)
    found = read_encoder(read_tensors(tmp_path / "x"))
    assert all(x.dtype == np.float32 for x in found.params.values())
    assert_same_encoder(found, {name: x.astype(np.float32) for name, x in other.items()})


@pytest.mark.parametrize("write", WRITERS)
def test_numbers_that_are_not_finite_are_refused_by_name(tmp_path, write):
    tensors = {name: x.astype(np.float64) for name, x in IMAGE.items()}
    tensors["pos_embed"][0, 3, :2] = np.nan
    tensors["blocks.1.mlp.fc1.weight"][0, 0] = -np.inf
    tensors["norm.bias"][5] = 1e300  # infinite in float32
    tensors = {n: x if n == "norm.bias" else x.astype(np.float16) for n, x in tensors.items()}
    del tensors["cls_token"]
    WRITERS[write](tmp_path / "x", tensors | HEAD | {"head.bias": np.full(10, np.nan)})
    with pytest.raises(UserError) as error:
        read_encoder(read_tensors(tmp_path / "x"))
    text = str(error.value)
    assert "1 missing: cls_token" in text
    assert "3 with NaN or infinite numbers (take an earlier checkpoint): " in text
    assert f"pos_embed (2 of {10 * WIDTH})" in text
    assert f"blocks.1.mlp.fc1.weight (1 of {MLP * WIDTH})" in text
    assert f"norm.bias (1 of {WIDTH})" in text
    assert "head" not in text  # which nothing reads


@pytest.mark.parametrize("write", WRITERS)
def test_tensors_of_no_floats_are_refused_by_name(tmp_path, write):
    wrong = {
        "blocks.0.mlp.fc1.weight": np.int8,
        "norm.bias": np.complex64,
        "cls_token": np.bool_,
    }
    tensors = {name: x.astype(wrong.get(name, x.dtype)) for name, x in (IMAGE | HEAD).items()}
    WRITERS[write](tmp_path / "x", tensors | {"head.bias": np.arange(10)})
    with pytest.raises(UserError, match="3 of another type than floats") as error:
        read_encoder(read_tensors(tmp_path / "x"))
    assert all(f"{n} {np.dtype(dtype)}" in str(error.value) for n, dtype in wrong.items())


@pytest.mark.parametrize(
    "changes",
    [
        {"blocks.999999999.norm1.bias": np.ones(WIDTH, np.float32)},
        {"patch_embed.proj.weight": np.ones((WIDTH, 3, 1, 1, 1, 1), np.float32)},
        {"cls_token": np.ones((1, 1, 10_000_000), np.float32)},
        {"cls_token": np.ones((), np.float32), "blocks.0.mlp.fc1.weight": np.ones((7, 1))},
        {"pos_embed": np.ones((1, 1, WIDTH), np.float32)},
        {"norm.weight": np.array(["text"] * WIDTH)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_absurd_tensors_are_refused_in_one_line_of_words(tmp_path, changes):
    np.savez(tmp_path / "x.npz", **(IMAGE | HEAD | changes))
    with pytest.raises(UserError, match=r"x\.npz"):
        read_encoder(read_tensors(tmp_path / "x.npz"))


def broken(tensors, *, missing, unexpected, misshaped):
    tensors = {name: x for name, x in tensors.items() if name not in missing}
    tensors |= dict.fromkeys(unexpected, np.ones(3, np.float32))
    return tensors | {name: tensors[name][..., :-1] for name in misshaped}


@pytest.mark.parametrize(
    ("tensors", "missing", "unexpected", "misshaped"),
    [
        (
            IMAGE,
            ["blocks.1.mlp.fc2.bias", "norm.weight"],
            ["fc_norm.weight", "blocks.0.ls1.gamma"],
            ["blocks.0.attn.qkv.weight"],
        ),
        (
            hugging_face(IMAGE),
            ["encoder.layer.0.attention.attention.key.bias", "layernorm.bias"],
            ["encoder.layer.0.extra"],
            ["encoder.layer.1.intermediate.dense.weight"],
        ),
        (
            jax_vit(IMAGE),
            ["Transformer/encoderblock_1/LayerNorm_2/bias", "cls"],
            ["Transformer/extra"],
            ["Transformer/encoderblock_0/MultiHeadDotProductAttention_1/out/kernel"],
        ),
    ],
    ids=["timm", "hugging-face", "jax"],
)
def test_one_error_names_everything_wrong(tmp_path, tensors, missing, unexpected, misshaped):
    np.savez(
        tmp_path / "x",
        **broken(tensors, missing=missing, unexpected=unexpected, misshaped=misshaped),
    )
    with pytest.raises(UserError) as error:
        read_encoder(read_tensors(tmp_path / "x.npz"))
    text = str(error.value)
    found, rest = text.split("missing: ")[1].split(f"{len(unexpected)} unexpected: ")
    assert f"{len(missing)} missing" in text
    assert f"{len(misshaped)} of another shape" in text
    assert all(name in found for name in missing)
    assert all(name in rest for name in [*unexpected, *misshaped])


def test_two_tensors_that_would_get_one_name_are_not_one(tmp_path):
    tensors = prefixed(IMAGE, "module.") | {"norm.bias": IMAGE["norm.bias"] + 1}
    with pytest.raises(UserError, match=r"1 unexpected: module\.norm\.bias"):
        read_encoder(read_tensors(save_torch(tmp_path / "x", tensors)))


def test_a_distilled_vit_is_no_plain_one(tmp_path):
    tensors = timm(specials=2) | HEAD
    with pytest.raises(UserError, match="1 unexpected: dist_token"):
        read_encoder(read_tensors(save_torch(tmp_path / "x", tensors)))


def test_a_vit_without_a_class_token_is_refused_by_that_name(tmp_path):
    tensors = jax_vit(IMAGE, big_vision=True)
    del tensors["cls"]
    np.savez(tmp_path / "x.npz", **tensors)
    with pytest.raises(UserError, match="1 missing: cls"):
        read_encoder(read_tensors(tmp_path / "x.npz"))


def test_other_networks_are_refused(tmp_path):
    tensors = {"layer1.0.conv1.weight": np.ones((3, 3), np.float32)}
    with pytest.raises(UserError, match=r"nothing this program knows .*layer1\.0\.conv1\.weight"):
        encoder_from_file(read_tensors(save_torch(tmp_path / "x", tensors)))


def test_depth():
    assert DEPTH == 2  # which the stacked form above assumes
