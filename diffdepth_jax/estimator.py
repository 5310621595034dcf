"""DepthEstimator: metres from an RGB image, in Python."""

import dataclasses
import functools

import jax
import numpy as np

from diffdepth_jax import diffusion, inference, transforms
from diffdepth_jax.checkpoint import load_variables, read_config
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluate import resize_depth
from diffdepth_jax.models.diffusion_depth import create_model
from diffdepth_jax.train_state import abstract_variables

# Width over height of the sizes that photos are brought to; few, so that few are compiled.
_ASPECTS = (1 / 2, 9 / 16, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 16 / 9, 2.0, 3.4)
_MULTIPLE = 16
# Float32 arrays of the width of the denoiser, at the latent's size, alive at once at native size.
_LIVE_ARRAYS = 24


@dataclasses.dataclass(frozen=True)
class DepthPrediction:
    """depth: metres, float32 [H, W]; focal_length: pixels of the input it holds for, or None."""

    depth: np.ndarray
    focal_length: float | None


def bucket_size(height, width, size):
    """(H, W) at which an image of this shape is predicted.

    The inference size itself, if the aspect is close to its own; otherwise one of a few aspects at
    the same area, sides rounded to multiples of 16.
    """
    area, own = size[0] * size[1], size[1] / size[0]
    aspect = min((own, *_ASPECTS), key=lambda a: abs(np.log(a) - np.log(width / height)))
    if aspect == own:
        return tuple(size)
    sides = ((area / aspect) ** 0.5, (area * aspect) ** 0.5)
    return tuple(max(_MULTIPLE, round(side / _MULTIPLE) * _MULTIPLE) for side in sides)


class DepthEstimator:
    """A trained or converted model that turns images into metres.

    >>> estimator = DepthEstimator.from_checkpoint("runs/synthetic")  # doctest: +SKIP
    >>> estimator(image_uint8).depth  # doctest: +SKIP
    """

    def __init__(self, model, schedule, variables, config):
        self._model, self._schedule = model, schedule
        self._variables, self._config = variables, config

    @classmethod
    def from_checkpoint(cls, path):
        """Loads a model directory: a training run's, or a conversion's output."""
        config = read_config(path)
        try:
            model = create_model(**config.model)
            schedule = diffusion.create_schedule(**config.diffusion)
        except TypeError as error:
            raise UserError(
                f"{path}/config.json does not describe a model of this version ({error}): "
                "convert or train it anew"
            ) from error
        return cls(model, schedule, load_variables(path, abstract_variables(model)), config)

    @property
    def focal_length(self):
        """The focal length in pixels, at the inference size, that the metres assume; 0: unknown."""
        return self._config.inference.focal_length

    def __call__(
        self, image, num_steps=None, seed=0, native_size=False, focal_length=None
    ) -> DepthPrediction:
        """Predicts one image.

        Args:
          image: uint8 RGB [H, W, 3], any size.
          num_steps: of the sampler; default: the configuration's.
          seed: of the starting noise. It is the image's own: equal images have equal depth.
          native_size: predict at the image's own size instead of the model's inference size.
          focal_length: of the camera in pixels of this image, if known: metres are then rescaled
            from the focal length that the model was trained with.

        Returns:
          Depth at the image's size.

        Raises:
          UserError: not an RGB image, too large for the memory, unknown focal length.
        """
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise UserError(
                f"image of shape {image.shape} and type {image.dtype}: must be RGB uint8 [H, W, 3]"
            )
        height, width = image.shape[:2]
        if min(height, width) < 1:
            raise UserError(f"image {height} x {width}: height and width must be positive")
        target = (height, width) if native_size else self._bucket(height, width)
        if native_size:
            self._check_memory(height, width)
        content = transforms.letterbox_size(height, width, target)
        depth = self._predict(_letterboxed(image, content, target), num_steps, seed)
        depth = np.asarray(resize_depth(depth[: content[0], : content[1]], (height, width)))
        scale = content[1] / width
        return self._with_focal_length(depth[..., 0], scale, focal_length)

    def _bucket(self, height, width):
        return bucket_size(height, width, tuple(self._config.inference.size))

    def _with_focal_length(self, depth, scale, focal_length):
        """An object twice as far through a lens twice as long looks the same: metres ~ focal."""
        assumed = self.focal_length
        if focal_length is None:
            return DepthPrediction(depth, assumed / scale if assumed else None)
        if not assumed:
            raise UserError(
                "this model's configuration states no inference.focal_length: leave focal_length "
                "out, or set it in the config.json of the model"
            )
        if not 0 < focal_length < float("inf"):
            raise UserError(f"focal_length {focal_length}: must be positive, in pixels")
        return DepthPrediction(depth * np.float32(focal_length * scale / assumed), focal_length)

    def _predict(self, image, num_steps, seed):
        num_steps = self._config.sampler.num_steps if num_steps is None else num_steps
        key = jax.random.key(seed)
        image = transforms.normalize_image(image)[None]
        return self._compiled(self._variables, image, key, num_steps=num_steps)[0]

    @functools.cached_property
    def _compiled(self):
        sampler = {k: v for k, v in self._config.sampler.items() if k != "num_steps"}

        @functools.partial(jax.jit, static_argnames="num_steps")
        def predict(variables, image, key, *, num_steps):
            keys = key[None]
            noise = diffusion.normal_per_image(keys, self._model.latent_shape(*image.shape[1:3]))
            return inference.predict_depth(
                self._model, variables, image, noise, schedule=self._schedule, keys=keys,
                num_steps=num_steps, **sampler,
            )  # fmt: skip

        return predict

    def _check_memory(self, height, width):
        """Refuses a size whose activations would not fit, by an estimate, before compiling it."""
        fields = self._config.model
        channels = max(fields.denoiser_features, fields.neck_features // 4)
        if fields.denoiser != "attention":  # the released ones have the neck's width
            channels = fields.neck_features
        need = 4 * _LIVE_ARRAYS * channels * (height / 2) * (width / 2)
        have = _memory_in_bytes()
        if need > have:
            raise UserError(
                f"image {height} x {width} at native size needs about {need / 2**30:.0f} GiB of "
                f"{have / 2**30:.0f} GiB memory: use the model's inference size or a smaller image"
            )


def _letterboxed(image, content, target):
    """uint8 [H, W, 3] resized to `content` and padded to `target`."""
    sample = {
        "image": image,
        "depth": np.zeros((*image.shape[:2], 1), np.float32),
        "mask": np.zeros((*image.shape[:2], 1), bool),
    }
    return transforms.pad_to(transforms.resize(sample, content), target)["image"]


def _memory_in_bytes():
    """Of the device if it says, otherwise what the system has free."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    with open("/proc/meminfo") as lines:
        fields = dict(line.split(":") for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024
