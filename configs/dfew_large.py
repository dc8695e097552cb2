"""MMA-DFER on DFEW with a ViT-L for the frames, and 32 of them. Not in the paper, not measured.

    python main.py --config=configs/dfew_large.py --config.data.dir=DIR --config.data.fold=1 \
        --config.image_weights=mae_vit_large.pth --config.audio_weights=pretrained.pth \
        --workdir=runs/dfew_large_fold1

The image encoder is any MAE ViT-L/16: UniGaze (Qin et al., arXiv 2502.02307) has one trained on
faces, He et al. (arXiv 2111.06377) one trained on ImageNet; MAE-Face is there as ViT-B only. Of
AudioMAE only ViT-B is published, so the sound has half as many layers, and the encoders meet after
every second layer of the image encoder.
"""

from ml_collections import ConfigDict

from configs import dfew


def get_config() -> ConfigDict:
    """ViT-L beside ViT-B, on 32 frames."""
    config = dfew.get_config()
    config.model.num_frames = 32
    config.model.image.update({"width": 1024, "depth": 24, "heads": 16, "mlp_dim": 4096})
    # MAE's pre-training took these off; MAE-Face alone is fed pictures as they are.
    config.model.image.update({"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)})
    # 8 clips on one device take 40 GB so, 15 GB with "layers" (benchmarks/memory.py).
    config.compute.remat = "attention"
    return config
