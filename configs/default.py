"""Every setting there is, at the paper's values (arXiv 2404.09010, section 4.2).

The other configs start from this one and change what differs. On the command line any of them is
`--config.NAME=VALUE`, for instance `--config.data.fold=3 --config.model.dtype=float32`.
"""

from ml_collections import ConfigDict, config_dict

from mmadfer_jax.models.config import FROM_FILE, EncoderConfig


def _encoder(shape: tuple[int, int]) -> ConfigDict:
    """An encoder of which None is as its file says, or as the paper's without a file.

    The paper's are ViT-B/16: patch and stride (16, 16), width 768, depth 12, heads 12, mlp_dim
    3072, special_tokens 1, patch_order "rows", norm_eps 1e-6. `mean` and `std` are those of the
    file's pre-training: the encoder sees (input - mean) / std.
    """
    kinds = {name: type(getattr(EncoderConfig(), name)) for name in FROM_FILE}
    open_ = {name: config_dict.placeholder(kind) for name, kind in kinds.items()}
    return ConfigDict({"shape": shape, **open_})


def get_config() -> ConfigDict:
    """The paper's model and recipe, without a dataset."""
    config = ConfigDict()
    config.seed = 0

    # Sizes of the model; the number of classes comes from the data. bfloat16: the encoders multiply
    # in 16 bits (docs/fidelity.md has the error); float32 is the type of the authors' program.
    config.model = ConfigDict(
        {
            "num_frames": 16,
            "image": _encoder(shape=(224, 224)),  # pixels
            "audio": _encoder(shape=(512, 128)),  # 10 ms steps, mel bins
            "modalities": "both",  # or "image" or "audio": that encoder alone
            "prompts": 3,  # 0 for none
            "stages": 2,  # how often they are renewed, up to after every layer
            "prompted": "both",  # or "image" or "audio": the encoder that gets prompts
            "fusion": "both",  # or "none", "to_image" (sound is told to frames) or "to_audio"
            "fusion_layers": (),  # after every layer; (0, 6) for after the first and the seventh
            "fusion_pooling": "mean",  # or "attention"
            "bottleneck": 128,
            "temporal_width": 512,
            "temporal_depth": 1,  # 0 for the mean over frames, which knows no order
            "temporal_heads": 8,
            "temporal_head_dim": 64,
            "temporal_mlp_dim": 1024,
            "drop_path": 0.1,
            "dtype": "bfloat16",
        }
    )

    # Pre-trained encoders, of any kind that `python -m mmadfer_jax.convert` reads. None starts an
    # encoder at random, which makes sense only where it is trained too (see freeze). A SHA-256
    # pins a file: an ImageNet MAE cannot be told from MAE-Face by its tensors.
    config.image_weights = config_dict.placeholder(str)
    config.audio_weights = config_dict.placeholder(str)
    config.image_sha256 = config_dict.placeholder(str)
    config.audio_sha256 = config_dict.placeholder(str)
    # How AudioMAE's position grid becomes that of shorter sound: "interpolate" or "cut".
    config.audio_positions = "interpolate"
    # A whole model to train on, in place of the encoders' files: a run's work directory, a file of
    # ours or a released checkpoint. Where the classes are others its classifier is drawn anew.
    config.init_from = config_dict.placeholder(str)

    # (regex over parameter paths, "frozen" | "trained"); the first that matches decides.
    config.freeze = (
        (r"(image|audio)_encoder\.(patch_embed|blocks|norm)\..*", "frozen"),
        (r"(image|audio)_encoder\.(cls|dist)_token", "frozen"),
        (r".*", "trained"),
    )

    # A folder made by `python -m data_prep`. Five-fold sets: fold k tests on part k and trains on
    # the others; sets with fixed train and test splits ignore the fold. Frames are seen in order of
    # "time"; in the "text" order of the reference's file names (0, 1, 10, 100, ...), in which the
    # released MAFW weights were trained; or "shuffled", at random. A clip without sound is "zeros"
    # before the normalisation, as in the reference, or the normalisation's "mean".
    config.data = ConfigDict(
        {
            "dir": "",
            "fold": 1,
            "frame_order": "time",
            "missing_sound": "zeros",
            "num_workers": 0,
        }
    )

    # One draw a clip; "area", "aspect" and "swap" are those of the random resized crop.
    config.augment = ConfigDict(
        {
            "brightness": (0.5, 1.5),
            "area": (0.08, 1.0),  # () or None keeps the whole picture
            "aspect": (3 / 4, 4 / 3),
            "swap": 0.5,
            "flip": 0.5,
            "drop_sound": 0.0,  # share of the clips without their sound
            "drop_picture": 0.0,  # share of the clips with black frames
        }
    )

    config.train = ConfigDict(
        {
            "batch_size": 8,
            "epochs": 25,
            "learning_rate": 1e-4,  # a cosine to 0 whose rate changes once an epoch
            "warmup_steps": 0,
            "weight_decay": 1e-2,
            "b1": 0.9,
            "b2": 0.999,
            "eps": 1e-8,
        }
    )
    config.eval = ConfigDict({"batch_size": 16, "every_epochs": 1})
    config.checkpoint = ConfigDict({"every_steps": 500, "keep": 2})
    config.log_every_steps = 20

    # Devices as data x fsdp x tensor (-1: what the other two leave), and how parameters lie on
    # them: (regex over parameter paths, mesh axis or None of each dimension); the first that
    # matches decides. `data` splits clips alone. `fsdp` splits clips and the encoders' stored
    # matrices. `tensor` splits their multiplications: heads and hidden units, so that a layer
    # adds up twice over the devices, once after attention and once after the MLP. The rest, which
    # is what trains where encoders are frozen, is small and lies whole on every device.
    layer = r"(image|audio)_encoder\.blocks\.\d+\."
    config.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1})
    config.sharding = (
        (layer + r"attn\.qkv\.kernel", (None, "fsdp", "tensor")),  # q, k, v; inputs; outputs
        (layer + r"attn\.qkv\.bias", (None, "tensor")),
        (layer + r"mlp\.fc1\.kernel", ("fsdp", "tensor")),
        (layer + r"mlp\.fc1\.bias", ("tensor",)),
        (layer + r"(attn\.proj|mlp\.fc2)\.kernel", ("tensor", "fsdp")),
        (r".*", ()),
    )

    # How it is computed, which a run may change when it goes on: attention "auto", "xla" or
    # "cudnn"; in which type XLA is asked for products of bfloat16, "auto", "bfloat16" or
    # "float32"; what is computed again for the gradient, to save memory: "none", "attention",
    # "mlp" or "layers"; and whether layers are compiled one by one, "loop", or as one that is
    # repeated, "scan" (docs/tpu.md has what each costs).
    config.compute = ConfigDict(
        {"attention": "auto", "products": "auto", "remat": "none", "layers": "loop"}
    )

    # A folder, or a URL such as gs://BUCKET/FOLDER, in which compiled programs are kept, so that a
    # run which goes on need not compile again. Any number of runs may share it.
    config.compilation_cache = config_dict.placeholder(str)

    # Preparation settings in which the data may differ from the checkpoint, by name.
    config.allow_mismatch = ()
    return config
