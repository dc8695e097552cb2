"""How the model is computed; what it computes, its sizes and its types, is `ModelConfig`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name, checkpoint_policies

from mmadfer_jax.errors import UserError
from mmadfer_jax.models.config import ModelConfig

ATTENTIONS = ("auto", "xla", "cudnn")
PRODUCTS = ("auto", "bfloat16", "float32")
# What a layer keeps for its gradient beside its input, by the names that `keep` gave; None for all.
_KEPT = {
    "none": None,
    "attention": ("qkv", "projected", "hidden", "mlp"),
    "mlp": ("qkv", "projected", "mlp"),
    "layers": (),
}
REMATS = tuple(_KEPT)
LAYERS = ("loop", "scan")


@dataclasses.dataclass(frozen=True)
class Compute:
    """Settings that change time and memory, and answers by no more than rounding.

    A run may go on with other ones, and they are not on a model's card.

    Attributes:
        attention: "xla" for attention as matrix products, "cudnn" for NVIDIA's fused kernel
            (bfloat16 on a GPU alone), "auto" for the faster one of the two on the devices at hand.
        products: In which type XLA is asked for products of bfloat16 matrices; "float32" is
            rounded to bfloat16 right after. On a CPU that way is about twice as fast, and "auto"
            takes it there (docs/performance.md).
        remat: What is computed a second time for the gradient (rematerialisation). "none" keeps all
            that the gradient needs. "attention" keeps the blocks' products of tokens with weights,
            and computes attention, LayerNorms, GELUs and fusion again. "mlp" computes the hidden
            units of the MLPs again too. "layers" keeps the tokens between the layers alone.
        layers: "loop" compiles every layer by itself, "scan" one that the device repeats: compiled
            several times faster, for a copy of the layers' parameters and gradients a step.
        tokens: How tokens lie on a mesh before each layer; no setting, the program knows it. Left
            to itself, XLA splits those of "scan" by width, so that each device sees all clips.
    """

    attention: str = "auto"
    products: str = "auto"
    remat: str = "none"
    layers: str = "loop"
    tokens: jax.sharding.Sharding | None = None

    def __post_init__(self):
        known = {
            "attention": ATTENTIONS,
            "products": PRODUCTS,
            "remat": REMATS,
            "layers": LAYERS,
        }
        for name, choices in known.items():
            if getattr(self, name) not in choices:
                raise UserError(
                    f"config.compute.{name} is {getattr(self, name)!r}; expected one of {choices}"
                )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Compute":
        """Builds it from `config.compute`; what is absent has its default.

        Raises:
            UserError: For an unknown name or a bad value.
        """
        names = [field.name for field in dataclasses.fields(cls) if field.name != "tokens"]
        if unknown := sorted(set(values) - set(names)):
            raise UserError(
                f"unknown settings {', '.join('config.compute.' + name for name in unknown)}; "
                "known are " + ", ".join("config.compute." + name for name in names)
            )
        return cls(**values)

    def on(self, platform: str, model: ModelConfig) -> "Compute":
        """With "auto" decided for a platform ("cpu", "gpu", "tpu") and a model.

        Raises:
            UserError: cuDNN's kernel is asked for where there is none, or layers that are not alike
                are to be one that is repeated.
        """
        if self.layers == "scan" and 0 < len(model.fused) < model.depth:
            raise UserError(
                "config.compute.layers is 'scan', which repeats one layer, but "
                f"model.fusion_layers {model.fusion_layers} fuses after some layers only; set it "
                "to 'loop'"
            )
        cudnn = platform in ("gpu", "cuda") and model.dtype == "bfloat16"
        if self.attention == "cudnn" and not cudnn:
            raise UserError(
                f"config.compute.attention is 'cudnn' with {model.dtype} on {platform}; expected "
                "bfloat16 on a GPU. Set it to 'auto'"
            )
        fastest = {
            "attention": "cudnn" if cudnn else "xla",
            "products": "float32" if platform == "cpu" else "bfloat16",
        }
        chosen = {name: x for name, x in fastest.items() if getattr(self, name) == "auto"}
        return dataclasses.replace(self, **chosen)

    def laid_out(self, tokens: jax.Array) -> jax.Array:
        """Tokens [n, N, D] as they are to lie on the mesh."""
        if self.tokens is None:
            return tokens
        return jax.lax.with_sharding_constraint(tokens, self.tokens)

    def layer(self, function: Callable) -> Callable:
        """Wraps a layer, so that its gradient keeps only what `remat` says."""
        if (kept := _KEPT[self.remat]) is None:
            return function
        policy = checkpoint_policies.save_only_these_names(*kept)
        return jax.checkpoint(function, policy=policy, prevent_cse=self.layers == "loop")


def keep(x: jax.Array, name: str) -> jax.Array:
    """Marks what `remat` may keep; changes nothing."""
    return checkpoint_name(x, name)
