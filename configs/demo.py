"""A small model trained from scratch on the synthetic talking faces, on two CPU cores.

    make demo

Both encoders train here, because nothing pre-trained is downloaded; all other parts are those of
the paper, smaller.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The model of `make demo`."""
    config = default.get_config()
    config.data.dir = "demo/data"
    config.freeze = ((r".*", "trained"),)
    layers = {"width": 64, "depth": 2, "heads": 4, "mlp_dim": 128}
    frames = {"shape": (48, 48), "mean": (0.45, 0.45, 0.45), "std": (0.25, 0.25, 0.25)}
    sound = {"shape": (256, 128), "patch": (32, 64), "stride": (32, 64)}
    config.model.image.update(frames | layers)
    config.model.audio.update(sound | layers)
    config.model.update(
        {
            "num_frames": 4,
            "prompts": 2,
            "bottleneck": 32,
            "temporal_width": 64,
            "temporal_depth": 1,
            "temporal_heads": 4,
            "temporal_head_dim": 16,
            "temporal_mlp_dim": 128,
            "drop_path": 0.0,
            "dtype": "float32",
        }
    )
    # Small encoders learn from a few hundred clips only where faces stay in place.
    config.augment.update({"brightness": (0.9, 1.1), "area": None})
    # A step costs by its clips, so many small steps learn more in the same time than few large
    # ones; they are still so few that AdamW's second moment must forget faster than the paper's.
    config.train.update(
        {"batch_size": 8, "epochs": 16, "learning_rate": 4e-4, "warmup_steps": 40, "b2": 0.98}
    )
    config.eval.update({"batch_size": 77, "every_epochs": 4})
    return config
