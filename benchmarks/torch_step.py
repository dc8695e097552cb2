"""The same model trained in PyTorch: as the authors do it, and tuned.

The model is `tests/torch_twin.py`, which the tests hold against ours. It sees frames that are
float32 on the device: what the authors' data loader does to them on the CPU is left out, where our
own step cuts, resizes and brightens its frames itself.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from mmadfer_jax.costing.timing import seconds_of
from mmadfer_jax.models.config import ModelConfig
from tests.torch_twin import Attention, Twin

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Frozen as the authors freeze: the encoders but for prompts, positions and what fuses them.
_FROZEN = ("cls_token", "patch_embed", "blocks", "norm", "head")

WAYS = {
    "eager": "float32, AdamW and no compiler, as the authors train; attention fused as in their "
    "timm 0.9.16; TF32 off in matrix products, as PyTorch leaves it",
    "eager TF32": "the same with TF32",
    "bfloat16": "bfloat16 by autocast, frozen matrices stored so, fused attention and AdamW",
    "tuned": "bfloat16 by autocast, frozen matrices stored so, fused attention and AdamW, layers "
    "compiled one by one",
    "tuned, whole": "the same with the whole model compiled as one",
}


def model_of(config: ModelConfig, way: str) -> Twin:
    """A model on the device, frozen, in training mode, ready to be stepped."""
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = way == "eager TF32"
    Attention.fused = True
    with torch.device(DEVICE):
        twin = Twin(config)
    with torch.no_grad():
        for name, p in twin.named_parameters():
            if p.ndim == 1 or not name.endswith("weight"):
                p.normal_(0, 0.02)
                if name.endswith("weight"):
                    p.add_(1)
            tower, _, rest = name.partition(".")
            if tower in ("image_encoder", "audio_model") and rest.split(".")[0] in _FROZEN:
                p.requires_grad_(False)
                if _short(way) and p.ndim > 1 and name.endswith("weight"):
                    p.data = p.data.bfloat16()
    if way.startswith("tuned"):
        _compile(twin, whole=way.endswith("whole"))
    return twin.train()


def _compile(twin: Twin, *, whole: bool) -> None:
    # Without a GPU the rehearsal leaves out the code generator, which wants a C++ compiler.
    options = {} if DEVICE == "cuda" else {"backend": "eager"}
    torch._dynamo.config.recompile_limit = 64  # the fusion of each layer is a program of its own
    if whole:
        twin.compile(dynamic=False, **options)
        return
    for tower in (twin.image_encoder, twin.audio_model):
        for block in tower.blocks:
            block.compile(dynamic=False, **options)
    twin.fuse = torch.compile(twin.fuse, dynamic=False, **options)


def _short(way: str) -> bool:
    return not way.startswith("eager")


def _autocast(way: str) -> torch.autocast:
    return torch.autocast(DEVICE, torch.bfloat16, enabled=_short(way))


def _inputs(config: ModelConfig, batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    frames = torch.rand(batch, config.num_frames, 3, *config.image.shape, device=DEVICE)
    sound = torch.randn(batch, 1, *config.audio.shape, device=DEVICE)
    return frames, sound, torch.randint(config.num_classes, (batch,), device=DEVICE)


def training(config: ModelConfig, batch: int, way: str) -> Callable[[], torch.Tensor]:
    """A function that takes a training step and gives its loss; it may be called again."""
    twin, (frames, sound, labels) = model_of(config, way), _inputs(config, batch)
    trained = [p for p in twin.parameters() if p.requires_grad]
    fused = True if _short(way) else None
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=1e-2, fused=fused)

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(way):
            loss = torch.nn.functional.cross_entropy(twin(frames, sound), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def inference(config: ModelConfig, batch: int, way: str) -> Callable[[], torch.Tensor]:
    """A function that gives the logits of a batch."""
    twin, (frames, sound, _) = model_of(config, way).eval(), _inputs(config, batch)

    def step() -> torch.Tensor:
        with torch.no_grad(), _autocast(way):
            return twin(frames, sound)

    return step


def measure(make: Callable[..., Any], batch: int, steps: int, warmup: int) -> dict[str, Any]:
    """The figures of `make()`, which gives a step; the first step compiles, where anything does."""
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    torch._dynamo.reset()  # what other settings compiled
    start, step = time.perf_counter(), make()
    value = _waited(step())
    first = time.perf_counter() - start
    median = statistics.median(seconds_of(step, steps, warmup, _waited))
    return {
        "batch": batch,
        "clips_per_second": round(batch / median, 3),
        "median_ms": round(1000 * median, 3),
        "first_step_seconds": round(first, 1),
        "peak_bytes": torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None,
        "finite": bool(value.isfinite().all()),
    }


def _waited(value: torch.Tensor) -> torch.Tensor:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return value
