"""Your own folder of RGB images with depth maps.

python -m diffdepth_jax.main --config=configs/folder.py --config.data.folder.root=DIR \
    --config.data.folder.image_pattern='image/*.png' \
    --config.data.folder.depth_pattern='depth/*.png'
"""

from diffdepth_jax.configs import default


def get_config():
    config = default.get_config()
    config.data.source = "folder"
    config.model.backbone = "swin_micro"
    config.model.neck_features = 64
    config.model.drop_path_rate = 0.0
    config.model.denoiser_features = 32
    config.model.detail_features = 12  # this backbone starts from nothing, and learns slowly
    config.sampler.num_steps = 2
    config.loss.weights.gradient_matching = 0.5
    config.frame.size = (240, 320)
    config.augmentation.crop_size = (208, 272)
    config.train.batch_size = 8
    config.train.num_steps = 2000
    config.train.evaluate_every = 500
    config.train.checkpoint_every = 500
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 100
    config.optimizer.backbone_multiplier = 1.0
    return config
