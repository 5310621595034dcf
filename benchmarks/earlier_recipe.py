"""What configs/synthetic.py was until the study of refinement, as benchmarks still measure it."""

# It had no trained backbone.
FROM_NOTHING = {"model.backbone_weights": "", "optimizer.freeze": ""}
FIELDS = {
    **FROM_NOTHING,
    "model.detail_features": 0,
    "model.sharpen": 0,
    "model.neck": "fpn",
    "model.neck_features": 64,
    "sampler.num_steps": 2,
    "sampler.clip": 1.0,
    "sampler.global_noise": 0.0,
    "loss.pixel_losses_on_every_step": False,
    "loss.random_timesteps": False,
    "loss.samples": 1,
    "loss.own_noise": False,
    "loss.weights.ddim": 1.0,
    "loss.weights.silog": 1.0,
    "loss.weights.gradient_matching": 0.0,
    "loss.weights.crps": 0.0,
    "loss.weights.crps_pooled": 0.0,
    "loss.weights.latent": 1.0,
    "loss.weights.reconstruction": 1.0,
}
