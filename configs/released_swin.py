"""The architecture and recipe of the released PyTorch code: Swin-L, HAHI neck, KITTI.

python -m diffdepth_jax.convert --checkpoint=swin_model_00035.pt --config=configs/released_swin.py \
    --output=models/released_swin

For predictions by the published checkpoint. To train a model of your own, take another
configuration: this one keeps the released code's departures from the paper.
"""

from ml_collections import ConfigDict

from configs import default


def get_config():
    config = default.get_config()
    config.data = ConfigDict(
        {
            "source": "folder",
            "root": "data/kitti_depth",
            "image_pattern": "**/image_02/data/*.png",
            "depth_pattern": "**/proj_depth/groundtruth/image_02/*.png",
            "list_file": "train.txt",
            "eval_list_file": "test.txt",
            "depth_scale": 256.0,
            "holdout_every": 0,
        }
    )
    config.model.backbone = "swin_large"
    config.model.position_embedding = False
    config.model.neck = "released_hahi"
    config.model.codec = "released"
    config.model.denoiser = "released"
    config.diffusion.schedule = "linear"
    config.diffusion.prediction_type = "epsilon"
    config.sampler.spacing = "leading"
    config.sampler.clip = 0.0
    config.loss.target = "self_attached"
    config.loss.clamp_depth = 88.0
    config.loss.metric_fraction = 1.0
    config.train.batch_size = 8
    config.loss.weights = ConfigDict(
        {
            "ddim": 1 / config.train.batch_size,  # a mean, divided by the batch size once more
            "silog": 0.0,
            "literal_pixel": 0.0,
            "l1": 1.0,
            "l2": 1.0,
            "latent": 0.0,
            "reconstruction": 0.0,
        }
    )
    config.inference.size = (352, 1216)
    config.inference.max_depth = 80.0
    config.augmentation.rotation = 5.0
    config.augmentation.zoom = 1.5
    config.augmentation.crop_size = (352, 906)
    return config
