"""MMA-DFER on CREMA-D (Cao et al., 2014): 7,442 clips, 6 classes, five folds by actor.

    python main.py --config=configs/crema_d.py --config.data.dir=DIR --config.data.fold=1 \
        --config.image_weights=mae_face_pretrain_vit_base.pth \
        --config.audio_weights=audiomae_pretrained.pth --workdir=runs/crema_d_fold1

Not published for MMA-DFER, not measured here.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The paper's model and recipe on this set."""
    config = default.get_config()
    config.data.dir = "data/crema_d"
    config.model.num_classes = 6
    return config
