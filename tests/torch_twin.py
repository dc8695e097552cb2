"""MMA-DFER in plain PyTorch, written from the paper and the list of tensors, to compare with.

Module and parameter names are those of a released checkpoint, so that `state_dict` and a strict
`load_state_dict` speak of the very files that are exchanged. `benchmarks/torch_step.py` trains it.
"""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from mmadfer_jax.models.config import EncoderConfig, ModelConfig


class Attention(nn.Module):
    fused = False  # by PyTorch's kernel, as timm has done since 0.9

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        n, tokens, width = x.shape
        qkv = self.qkv(x).view(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if self.fused:
            out = F.scaled_dot_product_attention(q, k, v)
        else:
            weights = (q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5).softmax(-1)
            out = weights @ v
        return self.proj(out.transpose(1, 2).reshape(n, tokens, width))


class DropPath(nn.Module):
    """Drops rows in training; the rate is a buffer, so that all layers compile to one program."""

    def __init__(self, rate: float):
        super().__init__()
        self.register_buffer("keep", torch.tensor(1.0 - rate), persistent=False)

    def forward(self, x):
        if not self.training:
            return x
        kept = torch.rand(len(x), 1, 1, device=x.device) < self.keep
        return x * (kept / self.keep).to(x.dtype)


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, mlp_dim: int, rate: float, eps: float = 1e-6):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.attn, self.mlp = Attention(width, heads), Mlp(width, mlp_dim)
        self.drop_path = DropPath(rate)

    def forward(self, x):
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    def __init__(self, channels: int, width: int, patch, stride):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


def grid(shape, patch, stride) -> int:
    return ((shape[0] - patch[0]) // stride[0] + 1) * ((shape[1] - patch[1]) // stride[1] + 1)


class Tower(nn.Module):
    def __init__(self, model: ModelConfig, c: EncoderConfig, unused_head: int):
        super().__init__()
        prompts = model.prompts * model.stages
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c.width))
        self.pos_embed = nn.Parameter(
            torch.zeros(1, 1 + grid(c.shape, c.patch, c.stride) + prompts, c.width)
        )
        self.learnable_prompts_init = nn.Parameter(torch.zeros(prompts, c.width))
        self.learnable_prompts_progr = nn.ParameterList(
            nn.Parameter(torch.zeros(model.prompts, c.width)) for _ in range(model.stages)
        )
        self.patch_embed = PatchEmbed(c.channels, c.width, c.patch, c.stride)
        self.blocks = nn.ModuleList(
            Block(c.width, c.heads, c.mlp_dim, model.drop_path * i / max(c.depth - 1, 1))
            for i in range(c.depth)
        )
        self.norm = nn.LayerNorm(c.width, eps=1e-6)
        self.head = nn.Linear(c.width, unused_head)
        self.temporal_att_post = nn.ModuleList(
            nn.Sequential(nn.Linear(model.bottleneck, c.width), nn.GELU()) for _ in range(c.depth)
        )
        self.all_gate = nn.ParameterList(nn.Parameter(torch.zeros(1)) for _ in range(c.depth))

    def embed(self, x):
        parts = (self.cls_token, self.patch_embed(x), self.learnable_prompts_init[None])
        parts = [part.expand(x.shape[0], -1, -1) for part in parts]
        return torch.cat(parts, 1) + self.pos_embed


class ImageTower(Tower):
    def __init__(self, model: ModelConfig, unused_head: int):
        super().__init__(model, model.image, unused_head)
        width, bottleneck, depth = model.image.width, model.bottleneck, model.depth
        self.audio_proj_pre = nn.ModuleList(
            nn.Sequential(nn.Linear(width, bottleneck), nn.LayerNorm(bottleneck))
            for _ in range(depth)
        )
        self.temporal_pre = nn.ModuleList(nn.Linear(width, bottleneck) for _ in range(depth))
        self.temporal_pre_norm = nn.ModuleList(nn.LayerNorm(bottleneck) for _ in range(depth))


class TemporalAttention(nn.Module):
    def __init__(self, width: int, heads: int, head_dim: int):
        super().__init__()
        self.heads, inner = heads, heads * head_dim
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width))

    def forward(self, x):
        n, tokens, _ = x.shape
        q, k, v = (
            part.view(n, tokens, self.heads, -1).transpose(1, 2)
            for part in (self.to_q(x), *self.to_kv(x).chunk(2, -1))
        )
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        return self.to_out((weights @ v).transpose(1, 2).reshape(n, tokens, -1))


class FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(approximate="tanh"),
            nn.Identity(),
            nn.Linear(hidden, width),
        )

    def forward(self, x):
        return self.net(x)


class Holder(nn.Module):
    """Residual of a pre-norm function, nested as the checkpoint's names are."""

    def __init__(self, width: int, function: nn.Module):
        super().__init__()
        self.fn = nn.Module()
        self.fn.norm, self.fn.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.fn.fn = function

    def forward(self, x):
        return x + self.fn.fn(self.fn.norm(x))


class TemporalNet(nn.Module):
    def __init__(self, c: ModelConfig):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c.temporal_width))
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1 + c.num_frames, c.temporal_width))
        self.temporal_transformer = nn.Module()
        self.temporal_transformer.layers = nn.ModuleList(
            nn.ModuleList(
                (
                    Holder(
                        c.temporal_width,
                        TemporalAttention(c.temporal_width, c.temporal_heads, c.temporal_head_dim),
                    ),
                    Holder(c.temporal_width, FeedForward(c.temporal_width, c.temporal_mlp_dim)),
                )
            )
            for _ in range(c.temporal_depth)
        )

    def forward(self, x):
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1) + self.pos_embedding
        for attention, mlp in self.temporal_transformer.layers:
            x = mlp(attention(x))
        return x[:, 0]


class Twin(nn.Module):
    """The whole model: frames [B, T, 3, H, W] and spectrogram [B, 1, time, mel] to logits."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = c = config
        self.temporal_net = TemporalNet(c)
        self.our_classifier = nn.Linear(c.temporal_width, c.num_classes)
        self.vision_proj = nn.Linear(c.image.width, c.temporal_width)
        self.image_encoder = ImageTower(c, unused_head=12)
        self.audio_model = Tower(c, c.audio, unused_head=1000)

    def fuse(self, i: int, v, a):
        image, audio = self.image_encoder, self.audio_model
        zv = image.temporal_pre_norm[i](image.temporal_pre[i](v))
        za = image.audio_proj_pre[i](a)
        frames = len(v) // len(a)
        to_image = za.mean(1).repeat_interleave(frames, 0)[:, None]
        to_audio = zv.view(len(a), -1, zv.shape[-1]).mean(1)[:, None]
        v = v + image.all_gate[i].tanh() * image.temporal_att_post[i](zv + to_image)
        a = a + audio.all_gate[i].tanh() * audio.temporal_att_post[i](za + to_audio)
        return v, a

    def forward(self, frames, spectrogram):
        c, image, audio = self.config, self.image_encoder, self.audio_model
        v, a = image.embed(frames.flatten(0, 1)), audio.embed(spectrogram)
        for i in range(c.depth):
            a, v = audio.blocks[i](a), image.blocks[i](v)
            v, a = self.fuse(i, v, a)
            if i in c.stage_starts:
                stage = c.stage_starts.index(i)
                v, a = self.add_prompts(image, v, stage), self.add_prompts(audio, a, stage)
        features = image.norm(v)[:, 0].view(len(a), -1, c.image.width) + audio.norm(a)[:, :1]
        return self.our_classifier(self.temporal_net(self.vision_proj(features)))

    def add_prompts(self, tower: Tower, x, stage: int):
        c = self.config
        new = x.new_zeros(c.prompts * c.stages, c.image.width)
        new[stage * c.prompts : (stage + 1) * c.prompts] = tower.learnable_prompts_progr[stage]
        return x + F.pad(new, (0, 0, x.shape[1] - len(new), 0))


def random_twin(config: ModelConfig, seed: int = 0) -> Twin:
    """A twin in which no tensor is zero or one."""
    generator = torch.Generator().manual_seed(seed)
    twin = Twin(config).eval()
    with torch.no_grad():
        for name, p in twin.named_parameters():
            fan_in = p[0].numel() if p.ndim > 1 and name.endswith("weight") else 1
            p.normal_(generator=generator).mul_(fan_in**-0.5 if fan_in > 1 else 0.5)
            if p.ndim == 1 and name.endswith("weight"):
                p.add_(1)
    return twin


def tensors_of(twin: Twin):
    """Its state dict as arrays."""
    return {name: x.numpy() for name, x in twin.state_dict().items()}
