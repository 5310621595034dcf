"""The architecture and recipe of the released PyTorch code: Swin-L, HAHI neck, KITTI.

python -m diffdepth_jax.convert --checkpoint=swin_model_00035.pt --config=configs/released_swin.py \
    --output=models/released_swin

For predictions by the published checkpoint. To train a model of your own, take another
configuration: this one keeps the released code's departures from the paper.
"""

from diffdepth_jax.configs import default


def get_config():
    config = default.get_config()
    config.data.source = "records"
    config.data.records.name = "kitti_depth/eigen"
    config.model.backbone = "swin_large"
    config.model.position_embedding = False
    config.model.neck = "released_hahi"
    config.model.codec = "released"
    config.model.denoiser = "released"
    config.diffusion.schedule = "linear"
    config.diffusion.prediction_type = "epsilon"
    config.sampler.num_steps = 20
    config.sampler.spacing = "leading"
    config.sampler.clip = 0.0
    config.loss.target = "self_attached"
    config.loss.pixel_losses_on_every_step = False
    config.loss.random_timesteps = False
    config.loss.clamp_depth = 88.0
    config.loss.l1_l2_until = 1.0
    config.train.batch_size = 8
    epoch = 23_158 // config.train.batch_size  # steps; the images of the Eigen training list
    config.train.num_steps = 20 * epoch
    config.optimizer.name = "adam"
    config.optimizer.schedule = "steps"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = epoch
    config.optimizer.boundaries = (10 / 20, 15 / 20)
    config.optimizer.factors = (0.2, 0.04)
    config.optimizer.weight_decay = 0.0
    config.optimizer.clip_norm = 0.0
    config.optimizer.backbone_multiplier = 1.0  # or 0.1, an option of the released code
    config.loss.weights.update(
        {
            "ddim": 1 / config.train.batch_size,  # a mean, divided by the batch size once more
            "silog": 0.0,
            "pixel_as_printed": 0.0,
            "l1": 1.0,
            "l2": 1.0,
            "latent": 0.0,
            "reconstruction": 0.0,
        }
    )
    config.frame.size = (352, 1216)
    config.frame.input_crop = "kb"
    config.frame.max_depth = 80.0
    config.evaluation.protocol = "kitti_garg_kb"
    config.augmentation.rotation = 5.0
    config.augmentation.zoom = 1.5
    config.augmentation.crop_size = (352, 906)
    return config
