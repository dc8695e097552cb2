"""MMA-DFER on CAER (Lee et al., 2019): 13,201 clips, 7 classes, fixed train and test.

    python main.py --config=configs/caer.py --config.data.dir=DIR \
        --config.image_weights=mae_face_pretrain_vit_base.pth \
        --config.audio_weights=audiomae_pretrained.pth --workdir=runs/caer

Not published for MMA-DFER, not measured here.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The paper's model and recipe on this set."""
    config = default.get_config()
    config.data.dir = "data/caer"
    config.model.num_classes = 7
    return config
