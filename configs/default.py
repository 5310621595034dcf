"""Every field that a configuration has, with its default; each configuration sets what differs."""

from ml_collections import ConfigDict


def get_part():
    """A part of `data.mixture`: what is beside it in `data`, and these fields."""
    part = get_config().data
    with part.unlocked():
        del part.mixture
        # Of the training samples, relative to the other parts'. 0: the part is only evaluated.
        part.weight = 1.0
        # Metres; ground truth beyond them is not used. 0: those of `frame`, which hold for all.
        part.min_depth = 0.0
        part.max_depth = 0.0
        part.protocol = ""  # of its evaluation; "": evaluation.protocol
        # Of frames whose own is unknown, in pixels of the frames; frame.focal_length, which is that
        # of another camera, is not assumed. 0: not known.
        part.focal_length = 0.0
    return part


def get_config():
    config = ConfigDict()
    config.seed = 0
    config.log_level = "info"  # debug, with the libraries' messages; info, warning, error

    config.data = ConfigDict(
        {
            # synthetic, folder, records or mixture: which of these groups counts
            "source": "folder",
            # What a training pixel of folder or records without ground truth is for model.validity:
            # unknown, or a hole: nothing is there that has a depth. hole is for dense ground truth.
            "missing_depth": "unknown",
            "synthetic": {  # rendered rooms and streets
                "kind": "mixed",  # mixed, in turns; rooms; streets
                "num_train": 10_000,
                "num_eval": 200,
                "height": 64,
                "width": 96,
                # The cameras' focal lengths: (least, greatest) factor of .9 widths, log-uniform.
                # Equal: all cameras have this one. frame.focal_length states the model's.
                "focal_range": (1.0, 1.0),
                "eval_focal_range": (1.0, 1.0),
            },
            "folder": {  # RGB images with depth maps
                "root": "",
                # A known layout, a name in PRESETS of diffdepth_jax/datasets/presets.py: what is
                # not set below is as that data set has it.
                "preset": "",
                # The k-th * of depth_pattern stands for the text that the k-th * of image_pattern
                # matched.
                "image_pattern": "**/rgb_*.jpg",
                "depth_pattern": "**/sync_depth_*.png",
                # A pattern of masks beside the depth maps, such as DIODE's "**/*_depth_mask.npy":
                # where a mask is 0 there is no ground truth.
                "mask_pattern": "",
                # Lines "rgb depth" or "rgb depth focal_length", in pixels of the frame; the
                # patterns are then unused.
                "list_file": "",
                "eval_list_file": "",  # such a list for evaluation; holdout_every is then unused
                # Where the depth files of lists lie, below the root, such as
                # "data_depth_annotated/*"; "": the root.
                "depth_root": "",
                # With such a list beside the one above, both have lines "time file", and files pair
                # up by their times, as in TUM's rgb.txt and depth.txt.
                "depth_list_file": "",
                "eval_depth_list_file": "",
                "depth_scale": 1000.0,  # integer depth maps: metres = value / depth_scale
                # Those of 8 bits: metres = (value + eight_bit_offset) / eight_bit_scale. 0: they
                # are refused, because most are only pictures of depth.
                "eight_bit_scale": 0.0,
                "eight_bit_offset": 0.0,
                # Whether depth of another size than its picture is brought to the picture's size,
                # to the nearest pixel; their sides must have the same ratio.
                "resize_depth": False,
                # Values in depth files that mean "nothing measured", such as (65535,) in 7-Scenes;
                # 0, nan and inf always do.
                "invalid_values": (),
                # How depth lies where EXIF turns its picture within its size. stored: like the
                # stored pixels, so that it is turned, too; apply: like the turned picture.
                "depth_orientation": "stored",
                # Of frames for which a list gives none, in pixels of the frames; 0: what EXIF says.
                "focal_length": 0.0,
                # Every n-th sample is held out for evaluation; 0 evaluates on the training samples.
                "holdout_every": 10,
            },
            "records": {  # a dataset that `diffdepth prepare` wrote
                "name": "nyu_depth/sync",
                "data_dir": "datasets",
                "train_split": "train",
                "eval_split": "test",
            },
            # Several sources together: named parts, each with the fields of `get_part`. Which parts
            # there are is for a recipe to say, such as configs/mixture.py.
            "mixture": {},
        }
    )
    config.model = ConfigDict(
        {
            # diffusion, or feed_forward: the same without diffusion, see configs/feed_forward.py.
            "kind": "diffusion",
            "backbone": "swin_tiny",  # a name in VARIANTS of diffdepth_jax/models/backbones/*.py
            # The backbone starts from this PyTorch file of a Swin, or model directory, if any.
            "backbone_weights": "",
            "window_size": 7,
            # Which maps a Swin shifts its windows on: always (all), larger_axes (along axes that
            # are longer than the window), larger_maps (if both are). `convert` sets it.
            "window_shift": "always",
            "position_embedding": True,  # patch coordinates into a Swin
            # Of a DINOv2 or DINOv3: the blocks, counted from 1, whose outputs are the maps; (): the
            # four of its table. And how a DINOv2's position table is resized, which `convert` sets
            # for a file: size (Hugging Face), size_antialiased (registers, timm), scale_offset (the
            # authors).
            "backbone_layers": (),
            "position_interpolation": "size",
            # The batch norms of an EfficientNet keep their statistics in training.
            "freeze_statistics": False,
            "drop_path_rate": 0.1,  # stochastic depth of the last block
            # fpn, dpt; depth_anything, with the codec of this name; of released checkpoints:
            # released, released_hahi.
            "neck": "fpn",
            "neck_features": 256,
            "codec": "bounded",  # bounded (ours, after the paper), depth_anything, released
            # Of Depth Anything: metres that its sigmoid is multiplied by. 0: it is relative, and
            # says an inverse depth up to an unknown scale and shift.
            "max_depth": 0.0,
            "latent_channels": 16,
            "encoder_kernel": 1,  # of the bounded codec: 1 (paper), 3
            "decoder_width": 32,
            # Channels of light convolutions of the image at full size, beside the backbone, whose
            # maps neck, condition and decoder see; 0: they see one strided convolution.
            "detail_features": 0,
            # Further outputs of the bounded codec's decoder for each pixel, each with its weight in
            # loss.weights: the scale of a Laplace distribution of log depth, and whether the pixel
            # has a depth at all.
            "laplace_scale": False,
            "validity": False,
            "denoiser": "attention",  # attention (ours, after the paper), released, released_plain
            "denoiser_features": 64,
            "denoiser_blocks": 2,
            "denoiser_heads": 4,
            "condition_levels": 4,  # pyramid levels that the denoiser sees; 1: the finest only
            "self_attention": True,
            # Predicted depth gets sharp edges where the image has them, see method/sharpening.py:
            # at so many scales; 0: it stays as the decoder gave it.
            "sharpen": 0,
            "dtype": "float32",  # compute; bfloat16 on GPU and TPU. Parameters are float32
        }
    )
    config.diffusion = ConfigDict(
        {
            "schedule": "cosine",  # linear, scaled_linear, cosine
            "num_timesteps": 1000,
            "beta_start": 1e-4,
            "beta_end": 0.02,
            "prediction_type": "sample",  # epsilon, sample, v_prediction
        }
    )
    config.sampler = ConfigDict(
        {
            "num_steps": 5,  # trained as below, a model may be sampled with any other number
            "spacing": "trailing",  # leading, trailing
            # What the sampler starts from: noise, zeros, or middle, which is zeros if an image has
            # one sample, and noise if it has several.
            "start": "noise",
            # Share of the noise's variance that is the same in all cells: samples of an image can
            # then differ as a whole.
            "global_noise": 0.0,
            # Factor of the starting noise in prediction: below 1 samples lie closer together.
            "temperature": 1.0,
            "eta": 0.0,
            "clip": 1.0,  # bound on each step's clean latent; 0: none
            "remat": True,  # recompute steps in the backward pass: less memory, more time
        }
    )
    config.loss = ConfigDict(
        {
            "target": "self",  # what is diffused: self (the paper), self_attached, ground_truth
            # Back-propagate through the last so many sampler steps only; 0: all.
            "gradient_steps": 0,
            # The next two together make a model accurate with any number of sampler steps, see
            # docs/method_study.md. False: the pixel losses see the last step's depth only.
            "pixel_losses_on_every_step": True,
            # In training the sampler's first step is the noisiest, the others are drawn at random.
            "random_timesteps": True,
            # Starting noises of an image in one step; above 1, crps scores their samples together.
            "samples": 1,
            # The loss ddim adds the sample's own noise, from which it started, not fresh noise.
            "own_noise": False,
            "silog_lambda": 0.85,
            # Metres, or units of the canonical camera; bounds both maps in l1 and l2, 0: no bound.
            "clamp_depth": 0.0,
            # The pixel losses l1 and l2 are off after this fraction of training (paper: half).
            "l1_l2_until": 0.5,
            "weights": {
                "ddim": 10.0,
                "silog": 1.0,
                "gradient_matching": 0.0,  # differences of log depth, at 1 to 8 pixels
                "crps": 0.0,  # of the samples' log depth at each pixel
                "crps_pooled": 0.0,  # of its means over cells of 4 pixels and more
                "pixel_as_printed": 0.0,
                "l1": 0.1,
                "l2": 0.01,
                "laplace": 0.0,  # for model.laplace_scale
                "validity": 0.0,  # for model.validity
                # For relative models, alone: of inverse depth after shift and scale of the image.
                "scale_shift_invariant": 0.0,
                "latent": 1.0,
                "reconstruction": 1.0,
            },
        }
    )
    config.frame = ConfigDict(
        {
            # (height, width) to which an image is resized, aspect kept, for the network.
            "size": (480, 640),
            # What the network sees of a frame: none crops nothing, kb is KITTI's benchmark crop.
            "input_crop": "none",
            # Focal length in pixels at that size; metres hold for such cameras. 0: not known. With
            # a canonical focal length: that of frames whose own is unknown.
            "focal_length": 0.0,
            # Pixels at that size, too: depth is learned as if every frame were seen through this
            # focal length (Metric3D). 0: metres are learned as they are.
            "canonical_focal_length": 0.0,
            # Metres. Ground truth counts strictly between the two; evaluated depth is clamped.
            "min_depth": 1e-3,
            "max_depth": 10.0,
        }
    )
    config.augmentation = ConfigDict(
        {
            # Fraction of a sample's valid pixels that stay valid: chosen at random, before all
            # else, the same pixels in each epoch.
            "valid_pixel_fraction": 1.0,
            # (top, bottom, left, right) in pixels of the frames: what a training sample may show.
            # (): the whole frame. Evaluation and prediction see whole frames.
            "box": (),
            # Degrees to either side; BTS: 2.5 on NYU, 1 on KITTI; released code: 5.
            "rotation": 0.0,
            "zoom": 1.0,  # up to this factor, depth divided by it; released code: 1.5
            "crop_size": (416, 544),
            "flip_probability": 0.5,
            "color_probability": 0.5,
            "gamma": 0.1,
            "brightness": 0.25,
            "color": 0.1,
        }
    )
    config.train = ConfigDict(
        {
            "batch_size": 16,
            "accumulate": 1,  # micro-batches that a batch is computed in: less memory
            # jit or pmap: the whole state on each device; fsdp: spread over the devices.
            "parallel": "jit",
            "num_steps": 38_400,
            "initial_weights": "",  # a model directory, converted or trained: to fine-tune
            # Evaluated and kept is the parameters' exponential moving average; 0: they themselves.
            "ema_decay": 0.0,
            "log_every": 50,
            "evaluate_every": 2000,
            "checkpoint_every": 1000,
            # Recompute backbone blocks in the backward pass: more time, less memory (not on CPU).
            "remat_backbone": False,
            # Features of a frozen backbone are kept on disk, of this many fixed crops of each image
            # and of their mirror images; 0: the backbone runs in each step.
            "cache_features": 0,
            "features_dir": "",  # where they are kept; "": WORKDIR/features
            "num_threads": 16,  # that read and augment
            "max_unreadable": 0,  # training samples that may be skipped, each with a warning
            # Updates that may be skipped because loss or gradient are not finite; the batch of each
            # goes to WORKDIR/nonfinite.
            "max_skipped": 20,
            # A trace of steps first to last - 1 in WORKDIR/profile, for TensorBoard or Perfetto;
            # equal: none.
            "profile_steps": (0, 0),
        }
    )
    config.optimizer = ConfigDict(
        {
            "name": "adamw",  # adamw, adam, sgd
            "schedule": "cosine",  # after the warm-up: cosine, polynomial, steps, constant
            "learning_rate": 1e-4,  # the peak
            "warmup_steps": 1000,  # from 0 to the peak
            "end_fraction": 0.01,  # of the peak, where cosine and polynomial end
            "power": 0.9,  # of polynomial
            # Of steps: from each boundary on, this factor of the peak. Boundaries below 1 are
            # fractions of the run, others steps.
            "boundaries": (0.5, 0.75),
            "factors": (0.2, 0.04),
            # Of kernels only. adamw: decoupled from the gradient; adam, sgd: added to it.
            "weight_decay": 0.05,
            "b1": 0.9,  # of adamw and adam, and
            "b2": 0.999,
            "eps": 1e-8,
            "momentum": 0.9,  # of sgd
            "clip_norm": 1.0,  # bound on the norm of the gradient; 0: none
            "backbone_multiplier": 0.1,  # of the learning rate
            # Each earlier block of a Swin learns slower by this factor; SimMIM: 0.7 to 0.9; 1: off.
            "layer_decay": 1.0,
            # Parameters that do not learn: a regular expression for their whole paths, such as
            # 'backbone/.*' (parameters.txt of a run lists all). Batch statistics go on.
            "freeze": "",
        }
    )
    config.evaluation = ConfigDict(
        {
            "batch_size": 8,
            # A name in NAMES of diffdepth_jax/evaluation/protocols.py: full, nyu_eigen,
            # kitti_garg_kb, ..., or another program's, such as marigold_nyu.
            "protocol": "full",
            # Fits each prediction to its ground truth, a name in ALIGNMENTS of
            # diffdepth_jax/evaluation/alignment.py: none, median, scale_shift, ... Such scores
            # compare with nothing metric. "": as the protocol has it, mostly none.
            "alignment": "",
            "distances": (),  # metres at which ranges end that are scored apart, such as (2, 4)
            "by_scene": False,  # a table by scene, which is the folder of an image
            "flip_average": False,  # mean with the mirrored image's prediction
            "ensemble": 1,  # starting noises for each image; the median of what they lead to
            "baselines": False,  # rows of the best constant and of the mean map
            "num_panels": 8,  # pictures of the first evaluation samples
        }
    )
    config.lock()  # a field that no code reads is an error in the other configurations too
    config.data.mixture.unlock()  # but for the names of parts
    return config
