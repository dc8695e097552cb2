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
    config.model.update(
        {
            "num_classes": 7,
            "num_frames": 8,
            "image_size": 64,
            "spectrogram_shape": (256, 128),
            "width": 96,
            "depth": 4,
            "heads": 4,
            "mlp_dim": 192,
            "prompts": 2,
            "bottleneck": 32,
            "temporal_width": 64,
            "temporal_depth": 2,
            "temporal_heads": 4,
            "temporal_head_dim": 16,
            "temporal_mlp_dim": 128,
            "dtype": "float32",
        }
    )
    config.augment.update({"brightness": (0.8, 1.2), "area": (0.7, 1.0)})
    config.train.update({"batch_size": 16, "epochs": 30, "learning_rate": 1e-3, "warmup_steps": 40})
    config.eval.update({"batch_size": 32, "every_epochs": 5})
    return config
