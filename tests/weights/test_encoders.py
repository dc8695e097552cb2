import numpy as np
import pytest

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
    joined = x @ params["blocks.1.attn.qkv.kernel"] + params["blocks.1.attn.qkv.bias"]
    for i, name in enumerate(("query", "key", "value")):
        kernel, bias = raw[f"{prefix}{name}/kernel"], raw[f"{prefix}{name}/bias"]
        expected = np.einsum("nd,dhk->nhk", x, kernel) + bias
        found = joined.reshape(5, 3, HEADS, -1)[:, i]
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


def test_half_precision_files_become_float32(tmp_path):
    half = {name: x.astype(np.float16) for name, x in IMAGE.items()}
    found = read_encoder(read_tensors(save_torch(tmp_path / "x", half, "model")))
    assert all(x.dtype == np.float32 for x in found.params.values())
    np.testing.assert_array_equal(found.params["cls_token"], half["cls_token"])


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
