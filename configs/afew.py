"""MMA-DFER on AFEW 8.0 (Dhall et al., EmotiW): 773 + 383 clips, 7 classes, tested on "val".

    python main.py --config=configs/afew.py --config.data.dir=DIR \
        --config.image_weights=mae_face_pretrain_vit_base.pth \
        --config.audio_weights=audiomae_pretrained.pth --workdir=runs/afew

Not published for MMA-DFER, not measured here.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The paper's model and recipe on this set."""
    config = default.get_config()
    config.data.dir = "data/afew"
    config.model.num_classes = 7
    return config
