"""NYU Depth V2: latent diffusion on a DINOv2, or on the encoder of a Depth Anything V2.

diffdepth prepare --dataset=nyu_depth/sync --source=DIR --data_dir=datasets
python -m diffdepth_jax.main --config=configs/nyu_dinov2.py \
    --config.model.backbone_weights=depth_anything_v2_vitl.pth \
    --config.model.position_interpolation=scale_offset

:frozen after the name leaves the backbone as it is; `on_vit` says what the recipe follows. It has
not been run in full.
"""

from diffdepth_jax.configs import nyu


def on_vit(config, backbone, weights, mode):
    """Puts a recipe of the paper on a ViT, with the neck of DPT on four of its layers.

    Fine-tuned: the backbone's rate, 5e-6, and the decay of .01 are those with which the authors of
    Depth Anything V2 fine-tune its encoder (their metric_depth/train.py); the parts that are new
    have the rate of configs/default.py. Frozen: no color jitter, and the rate of
    configs/frozen_features.py, whose run is in docs/results.md.
    """
    config.model.backbone = backbone
    config.model.backbone_weights = weights
    config.model.neck = "dpt"
    config.model.drop_path_rate = 0.0
    config.optimizer.backbone_multiplier = 0.05
    config.optimizer.weight_decay = 0.01
    if mode == "frozen":
        config.optimizer.freeze = "backbone/.*"
        config.optimizer.learning_rate = 1e-3
        config.augmentation.color_probability = 0.0
    return config


def get_config(mode="tuned"):
    config = nyu.get_config()
    # Sides of whole patches: nothing is padded.
    config.frame.size = (490, 644)
    config.augmentation.crop_size = (420, 560)
    config.frame.focal_length = 518.8579 * 644 / 640
    return on_vit(config, "dinov2_large", "weights/dinov2_large.safetensors", mode)
