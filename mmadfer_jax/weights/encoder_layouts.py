"""Tables: the tensor names of each family of encoder files, as patterns of our parameter paths."""

from mmadfer_jax.weights.layout import Rule, rules

# How the names of each family begin.
JAX_ROOT = r"Transformer/encoderblock"
AST_ROOT = r"v\.(?:blocks\.\d|patch_embed\.|pos_embed)"
HF_ROOT = (
    r"(?:vit\.|audio_spectrogram_transformer\.)?(?:embeddings\.(?:cls_token|patch_embeddings\.)"
    r"|encoder\.layer\.\d|layers\.\d+\.(?:attention\.|layernorm_))"
)
TIMM_ROOT = r"blocks\.\d+\.|patch_embed\.proj"

Table = tuple[tuple[str, str | tuple[str, ...]], ...]


def _both(ours: str, theirs: str, scale: str = "weight", kernel: str = "weight") -> Table:
    """The rules of a layer with a weight (ours: kernel or scale) and a bias."""
    return (
        (rf"{ours}\.scale", f"{theirs}{scale}"),
        (rf"{ours}\.kernel", f"{theirs}{kernel}"),
        (rf"{ours}\.bias", f"{theirs}bias"),
    )


def _joined(ours: str, theirs: str, names: tuple[str, ...], kernel: str = ".weight") -> Table:
    """The rules of our joined q, k and v."""
    return tuple(
        (rf"{ours}\.{end}", tuple(f"{theirs}{name}{foreign}" for name in names))
        for end, foreign in (("kernel", kernel), ("bias", f"{kernel[0]}bias"))
    )


_BLOCK = r"blocks\.(\d+)\."

OWN = rules(((r"(.*)", r"\1"),))

TIMM = rules(
    (
        (r"(cls_token|dist_token|pos_embed)", r"\1"),
        *_both(r"(patch_embed\.proj|norm|blocks\..*)", r"\1."),
    )
)
# Known and not needed: decoders and masks of pre-training, classifier heads.
TIMM_LEFTOVERS = r"mask_token|decoder_.*|(head|head_dist|pre_logits\.fc)\.(weight|bias)"


def _hugging_face(
    layer: str, q: str, k: str, v: str, out: str, fc1: str, fc2: str
) -> tuple[Rule, ...]:
    return rules(
        (
            ("cls_token", "embeddings.cls_token"),
            ("dist_token", "embeddings.distillation_token"),
            ("pos_embed", "embeddings.position_embeddings"),
            *_both(r"patch_embed\.proj", "embeddings.patch_embeddings.projection."),
            *_both(_BLOCK + "norm1", layer + "layernorm_before."),
            *_both(_BLOCK + "norm2", layer + "layernorm_after."),
            *_joined(_BLOCK + r"attn\.qkv", layer + "attention.", (q, k, v)),
            *_both(_BLOCK + r"attn\.proj", f"{layer}attention.{out}."),
            *_both(_BLOCK + r"mlp\.fc1", f"{layer}{fc1}."),
            *_both(_BLOCK + r"mlp\.fc2", f"{layer}{fc2}."),
            *_both("norm", "layernorm."),
        )
    )


# The names in files on the hub, and those of the modules since transformers 5.
HF_HUB = _hugging_face(
    r"encoder.layer.\1.",
    *(f"attention.{part}" for part in ("query", "key", "value")),
    *("output.dense", "intermediate.dense", "output.dense"),
)
HF_MODULES = _hugging_face(
    r"layers.\1.", "q_proj", "k_proj", "v_proj", "o_proj", "mlp.fc1", "mlp.fc2"
)
HF_PREFIXES = ("vit.", "audio_spectrogram_transformer.")
HF_LEFTOVERS = (
    r"pooler\.dense\.(weight|bias)|classifier\.((layernorm|dense)\.)?(weight|bias)"
    r"|embeddings\.mask_token|decoder\.0\.(weight|bias)"
)


def _jax(position: str, attention: int, second_norm: int, mlp: int) -> tuple[Rule, ...]:
    layer = r"Transformer/encoderblock_\1/"
    heads = f"{layer}MultiHeadDotProductAttention_{attention}/"
    return rules(
        (
            ("cls_token", "cls"),
            ("pos_embed", position),
            *_both(r"patch_embed\.proj", "embedding/", kernel="kernel"),
            *_both(_BLOCK + "norm1", layer + "LayerNorm_0/", "scale"),
            *_both(_BLOCK + "norm2", f"{layer}LayerNorm_{second_norm}/", "scale"),
            *_joined(_BLOCK + r"attn\.qkv", heads, ("query", "key", "value"), "/kernel"),
            *_both(_BLOCK + r"attn\.proj", heads + "out/", kernel="kernel"),
            *_both(_BLOCK + r"mlp\.fc1", f"{layer}MlpBlock_{mlp}/Dense_0/", kernel="kernel"),
            *_both(_BLOCK + r"mlp\.fc2", f"{layer}MlpBlock_{mlp}/Dense_1/", kernel="kernel"),
            *_both("norm", "Transformer/encoder_norm/", "scale"),
        )
    )


JAX_VIT = _jax("Transformer/posembed_input/pos_embedding", 1, 2, 3)
BIG_VISION = _jax("pos_embedding", 0, 1, 0)
JAX_LEFTOVERS = r"(head|pre_logits)/(kernel|bias)"
