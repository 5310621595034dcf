"""DepthEstimator: metres from RGB images, in Python."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from diffdepth_jax.checkpoints.model_directory import load_variables, read_config
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import preprocessing
from diffdepth_jax.media.reading import as_rgb
from diffdepth_jax.method import diffusion
from diffdepth_jax.method.refinement import decode_log_depth, decode_steps, refine
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.prediction import placement

# Float32 arrays of the width of the denoiser, at the latent's size, alive at once.
_LIVE_ARRAYS = 24


@dataclasses.dataclass(frozen=True)
class DepthPrediction:
    """What the estimator found out about one image.

    Attributes:
      depth: metres along the optical axis, float32 [H, W]; of an ensemble the median.
      focal_length: in pixels of the image, of the camera for which the metres hold; None if the
        model's configuration does not state it.
      image: the uint8 RGB [H, W, 3] that was predicted, the way the camera was held.
      spread: of an ensemble, metres, float32 [H, W]: half of what lies between the 16th and the
        84th percentile of its members, which is the standard deviation if they are Gaussian.
      trajectory: if asked for, metres, float32 [S + 1, h, w]: the latent decoded as noise and
        after each of the S steps, at the resolution of the network; of an ensemble, the first
        member's.
    """

    depth: np.ndarray
    focal_length: float | None
    image: np.ndarray
    spread: np.ndarray | None = None
    trajectory: np.ndarray | None = None


def load_model(path, **replaced):
    """(model, schedule, variables, configuration) of a model directory.

    `replaced` fields of the configuration's model group may change how it computes (dtype), not
    what its parameters are.
    """
    config = read_config(path)
    try:
        model = create_model(**{**config.model, **replaced})
        schedule = diffusion.create_schedule(**config.diffusion)
    except TypeError as error:
        raise UserError(
            f"{path}/config.json does not describe a model of this version ({error}): "
            "convert or train it anew"
        ) from error
    return model, schedule, load_variables(path, abstract_variables(model)), config


class DepthEstimator:
    """A trained or converted model that turns images into metres.

    >>> import numpy as np
    >>> from diffdepth_jax import DepthEstimator
    >>> estimator = DepthEstimator.from_checkpoint("runs/synthetic")
    >>> image = np.zeros((48, 64, 3), np.uint8)  # or a PIL image, or the path of a file
    >>> prediction = estimator(image, num_steps=2, seed=0)
    >>> prediction.depth.shape, prediction.depth.dtype
    ((48, 64), dtype('float32'))
    >>> first, second = estimator([image, image], ensemble=3, batch_size=2)
    >>> bool((first.depth == second.depth).all()), first.spread.shape
    (True, (48, 64))
    """

    def __init__(self, model, schedule, variables, config):
        self._model, self._schedule = model, schedule
        self._variables, self._config = variables, config

    @classmethod
    def from_checkpoint(cls, path) -> "DepthEstimator":
        """Loads a model directory: a training run's, or a conversion's output."""
        return cls(*load_model(path))

    @property
    def focal_length(self) -> float:
        """The focal length in pixels, at the inference size, that the metres assume; 0: unknown."""
        return self._config.inference.focal_length

    @property
    def num_steps(self) -> int:
        """The sampler's steps unless told otherwise."""
        return self._config.sampler.num_steps

    def __call__(
        self,
        images,
        *,
        num_steps: int | None = None,
        seed: int = 0,
        ensemble: int = 1,
        trajectory: bool = False,
        native_size: bool = False,
        padded_sizes=(),
        focal_length=None,
        batch_size: int = 1,
    ) -> "DepthPrediction | list[DepthPrediction]":
        """Predicts an image, or each of a list of images.

        Args:
          images: uint8 RGB [H, W, 3] of any size, a PIL image, the path of an image file, or a
            list of these. Files and PIL images are turned by their EXIF orientation.
          num_steps: of the sampler; default: the configuration's.
          seed: of the starting noise. It is each image's own: equal images have equal depth.
          ensemble: starting noises for an image, all in one batch, the image encoded once. The
            first is that of `ensemble=1`.
          trajectory: also decode the latent at every step.
          native_size: predict at the image's own size instead of the model's inference size.
          padded_sizes: (H, W)s; an image predicted at its own size is padded to the smallest of
            these that holds it, so that images of many sizes compile few programs.
          focal_length: of the camera in pixels of the image, if known: metres are then rescaled
            from the focal length that the model was trained with. For a list of images also a
            list, of numbers or None.
          batch_size: images of a list that are predicted together, if they are brought to the
            same size. A short batch is filled up, so that one program is compiled for a size.

        Returns:
          A DepthPrediction at the image's size; of a list, the list of them.

        Raises:
          UserError: not an image, too large for the memory, unknown focal length, a number out of
            range.
        """
        self.check(num_steps=num_steps, ensemble=ensemble, batch_size=batch_size)
        many = isinstance(images, (list, tuple))
        images = [as_rgb(image) for image in (images if many else [images])]
        placements = [
            self.placement(
                *image.shape[:2],
                native_size=native_size,
                padded_sizes=padded_sizes,
                samples=ensemble * batch_size,
            )
            for image in images
        ]
        each = isinstance(focal_length, (list, tuple))
        focal_lengths = focal_length if each else [focal_length] * len(images)
        if len(focal_lengths) != len(images):
            raise UserError(f"{len(focal_lengths)} focal lengths for {len(images)} images")
        run = functools.partial(
            self._predict_batch,
            batch_size=batch_size,
            seed=seed,
            ensemble=ensemble,
            num_steps=num_steps or self.num_steps,
            trajectory=trajectory,
        )
        predictions = [None] * len(images)
        for rows in _batches([placed.target for placed in placements], batch_size):
            batch = run([images[row] for row in rows], [placements[row] for row in rows])
            for row, prediction in zip(rows, batch, strict=True):
                predictions[row] = self._with_focal_length(
                    prediction, placements[row].scale, focal_lengths[row]
                )
        return predictions if many else predictions[0]

    def placement(self, height, width, *, native_size=False, padded_sizes=(), samples=1):
        """The Placement at which an image of this size is predicted, see `__call__`.

        Raises a UserError if so many samples in a batch would not fit into the memory.
        """
        if native_size:
            placed = placement.native((height, width), padded_sizes)
        else:
            placed = placement.scaled((height, width), tuple(self._config.inference.size))
        self._check_memory(placed.target, samples)
        return placed

    def check(self, *, num_steps, ensemble, batch_size):
        """Raises a UserError if one of these, see `__call__`, is out of range."""
        for name, count in (("ensemble", ensemble), ("batch_size", batch_size)):
            if count < 1:
                raise UserError(f"{name} {count}: must be 1 or more")
        if num_steps is not None and not 1 <= num_steps <= self._schedule.num_timesteps:
            raise UserError(f"num_steps {num_steps}: must be 1 to {self._schedule.num_timesteps}")
        if ensemble > 1 and self._config.sampler.start == "zeros" and not self._config.sampler.eta:
            raise UserError(
                f"ensemble {ensemble}: all samples of this model are the same, because its sampler "
                "starts from zeros (sampler.start) and adds no noise (sampler.eta): use 1"
            )

    def _with_focal_length(self, prediction, scale, focal_length):
        """An object twice as far through a lens twice as long looks the same: metres ~ focal."""
        assumed = self.focal_length
        if focal_length is None:
            known = assumed / scale if assumed else None
            return dataclasses.replace(prediction, focal_length=known)
        if not assumed:
            raise UserError(
                "this model's configuration states no inference.focal_length: leave focal_length "
                "out, or set it in the config.json of the model"
            )
        if not 0 < focal_length < float("inf"):
            raise UserError(f"focal_length {focal_length}: must be positive, in pixels")
        factor = np.float32(focal_length * scale / assumed)
        maps = {name: getattr(prediction, name) for name in ("depth", "spread", "trajectory")}
        maps = {name: factor * metres for name, metres in maps.items() if metres is not None}
        return dataclasses.replace(prediction, focal_length=focal_length, **maps)

    def _predict_batch(self, images, placements, *, batch_size, seed, **options):
        """Images of one target size -> DepthPredictions without their focal length."""
        placed = [placement.place(*pair) for pair in zip(images, placements, strict=True)]
        placed += placed[-1:] * (batch_size - len(placed))
        batch = np.stack([preprocessing.normalize_image(image) for image in placed])
        try:
            maps = self._compiled(self._variables, batch, jax.random.key(seed), **options)
            maps = jax.device_get(maps)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise _beyond_memory(batch.shape[1:3], len(batch) * options["ensemble"]) from error
        return [
            _at_image_size(image, own, {name: values[row] for name, values in maps.items()})
            for row, (image, own) in enumerate(zip(images, placements, strict=True))
        ]

    @functools.cached_property
    def _compiled(self):
        """A jitted (variables, image [B, H, W, 3], key) -> {name: metres [B, ..., H, W]}."""
        sampler = {k: v for k, v in self._config.sampler.items() if k != "num_steps"}
        model = self._model

        @functools.partial(jax.jit, static_argnames=("num_steps", "ensemble", "trajectory"))
        def predict(variables, image, key, *, num_steps, ensemble, trajectory):
            size = image.shape[1:3]
            keys = _member_keys(key, ensemble)
            noise = diffusion.normal_per_image(keys, model.latent_shape(*size))
            refinement = refine(
                model,
                variables,
                image,
                jnp.tile(noise, (len(image), 1, 1, 1)),
                schedule=self._schedule,
                keys=jnp.tile(keys, len(image)),
                num_steps=num_steps,
                **sampler,
            )
            log_depth, _ = decode_log_depth(model, variables, refinement.latent, *size)
            maps = _summarize(jnp.exp(log_depth).reshape(len(image), ensemble, *size))
            if trajectory:
                latents = refinement.latents[:, ::ensemble]
                steps = decode_steps(model, variables, latents, *size)
                maps["trajectory"] = jnp.moveaxis(steps[..., 0], 0, 1)
            return maps

        return predict

    def _check_memory(self, target, samples):
        """Refuses activations that would not fit, by an estimate, before compiling them."""
        height, width = target
        fields = self._config.model
        channels = max(fields.denoiser_features, fields.neck_features // 4)
        if fields.denoiser != "attention":  # the released ones have the neck's width
            channels = fields.neck_features
        need = 4 * _LIVE_ARRAYS * channels * (height / 2) * (width / 2) * samples
        have = _memory_in_bytes()
        if need > have:
            sizes = f" (about {need / 2**30:.0f} GiB of {have / 2**30:.0f} GiB)"
            raise _beyond_memory(target, samples, sizes)


def _beyond_memory(target, samples, sizes=""):
    several = f"{samples} at a time" if samples > 1 else "it"
    return UserError(
        f"image {target[0]} x {target[1]}: predicting {several} takes more than the memory{sizes}: "
        "use the model's inference size, a smaller image, or a smaller batch or ensemble"
    )


def _member_keys(key, ensemble):
    """Keys [ensemble]; the first is the key itself, whatever follows it."""
    return jnp.stack([key, *(jax.random.fold_in(key, member) for member in range(1, ensemble))])


def _summarize(members):
    """Metres [B, N, H, W] -> {depth and, if N > 1, spread: [B, H, W]}, see DepthPrediction."""
    if members.shape[1] == 1:
        return {"depth": members[:, 0]}
    low, median, high = jnp.percentile(members, jnp.array([16, 50, 84]), axis=1)
    return {"depth": median, "spread": (high - low) / 2}


def _batches(targets, batch_size):
    """Yields up to `batch_size` indices of one target size, every index once."""
    for target in dict.fromkeys(targets):
        rows = [row for row, own in enumerate(targets) if own == target]
        for first in range(0, len(rows), batch_size):
            yield rows[first : first + batch_size]


def _at_image_size(image, placed, maps):
    """The DepthPrediction of maps [H', W'] of the network's image; a trajectory keeps its size."""
    height, width = placed.content
    trajectory = maps.get("trajectory")
    return DepthPrediction(
        depth=placement.take_back(maps["depth"], placed),
        focal_length=None,
        image=image,
        spread=placement.take_back(maps["spread"], placed) if "spread" in maps else None,
        trajectory=trajectory if trajectory is None else trajectory[:, :height, :width],
    )


def _memory_in_bytes():
    """Of the device if it says, otherwise what the system has free."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    with open("/proc/meminfo") as lines:
        fields = dict(line.split(":") for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024
