"""MMA-DFER on FERV39k (Wang et al., 2022): 38,935 clips, 7 classes, fixed train and test, no sound.

    python main.py --config=configs/ferv39k.py --config.data.dir=DIR \
        --config.image_weights=mae_face_pretrain_vit_base.pth \
        --config.audio_weights=audiomae_pretrained.pth --workdir=runs/ferv39k

Not published for MMA-DFER, not measured here.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The paper's model and recipe on this set."""
    config = default.get_config()
    config.data.dir = "data/ferv39k"
    config.model.num_classes = 7
    return config
