"""MMA-DFER on RAVDESS (Livingstone and Russo, 2018): 1,440 clips, 8 classes, six folds by actor.

    python main.py --config=configs/ravdess.py --config.data.dir=DIR --config.data.fold=1 \
        --config.image_weights=mae_face_pretrain_vit_base.pth \
        --config.audio_weights=audiomae_pretrained.pth --workdir=runs/ravdess_fold1

Not published for MMA-DFER, not measured here.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The paper's model and recipe on this set."""
    config = default.get_config()
    config.data.dir = "data/ravdess"
    config.model.num_classes = 8
    return config
