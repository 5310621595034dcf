"""Your own folder of RGB images with depth maps.

python -m diffdepth_jax.main --config=configs/folder.py --config.data.root=DIR \
    --config.data.image_pattern='image/*.png' --config.data.depth_pattern='depth/*.png'
"""

from ml_collections import ConfigDict

from configs import default


def get_config():
    config = default.get_config()
    config.data = ConfigDict(
        {
            "source": "folder",
            "root": "",
            # The k-th * of the depth pattern stands for what the k-th * of the image's matched.
            "image_pattern": "**/rgb_*.jpg",
            "depth_pattern": "**/sync_depth_*.png",
            "list_file": "",  # lines "rgb depth": then the patterns are unused
            "eval_list_file": "",  # the same for evaluation: then holdout_every is unused
            "depth_scale": 1000.0,  # integer depth maps: metres = value / depth_scale
            # Every n-th sample is held out for evaluation; 0 evaluates on the training samples.
            "holdout_every": 10,
        }
    )
    config.model.backbone = "swin_micro"
    config.model.neck_features = 64
    config.model.drop_path_rate = 0.0
    config.model.denoiser_features = 32
    config.sampler.num_steps = 2
    config.inference.size = (240, 320)
    config.augmentation.crop_size = (208, 272)
    config.train.batch_size = 8
    config.train.num_steps = 2000
    config.train.evaluate_every = 500
    config.train.checkpoint_every = 500
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 100
    config.optimizer.backbone_multiplier = 1.0
    return config
