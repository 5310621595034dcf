"""DepthEstimator: metres from RGB images, in Python."""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import jax
import numpy as np
from jaxtyping import Float32
from PIL import Image

from diffdepth_jax.arrays import Array, Variables
from diffdepth_jax.checkpoints import model_names
from diffdepth_jax.configuration.groups import ModelConfiguration
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import preprocessing
from diffdepth_jax.media.preprocessing import Size
from diffdepth_jax.media.reading import RGB, FilePath, as_rgb
from diffdepth_jax.method import diffusion
from diffdepth_jax.prediction import memory, placement
from diffdepth_jax.prediction.depth_prediction import (
    DepthPrediction,
    RelativePrediction,
    at_image_size,
    relative_at_image_size,
)
from diffdepth_jax.prediction.focal_lengths import FocalLengths, in_metres, of_images
from diffdepth_jax.prediction.intervals import Intervals
from diffdepth_jax.prediction.loading import predict_function, read_model
from diffdepth_jax.prediction.model_facts import ModelFacts
from diffdepth_jax.prediction.options import Keywords, Options, check_options
from diffdepth_jax.prediction.placement import Placement

if TYPE_CHECKING:  # Flax takes .15 s to import
    from diffdepth_jax.models.assembly import DepthNetwork

ImageLike = Array | Image.Image | FilePath
_ImageT = TypeVar("_ImageT", bound=ImageLike)


class DepthEstimator(ModelFacts):
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

    def __init__(
        self,
        model: "DepthNetwork | None",
        schedule: diffusion.NoiseSchedule,
        variables: Variables,
        config: ModelConfiguration,
        directory: FilePath | None = None,
    ) -> None:
        """Takes what `load_model` returns, and the model directory, which may be calibrated.

        `model=None` stands for the model that `config` describes, see `predict_function`.
        """
        self._model, self._schedule = model, schedule
        super().__init__(config)
        self._variables = variables
        self._intervals = Intervals(directory, variables, self.has_scale)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike) -> "DepthEstimator":
        """Loads a model directory: a training run's, or a conversion's output."""
        variables, config = read_model(path)
        schedule = diffusion.create_schedule(**vars(config.diffusion))
        return cls(None, schedule, variables, config, path)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike) -> "DepthEstimator":
        """Loads a model that ships, a model directory, or OWNER/REPOSITORY of the hub.

        See `find_model`, which raises a UserError if there is none; so does this without a name.
        """
        if not isinstance(name, str | os.PathLike):
            raise UserError(f"model {name!r}: give its name or its path; `diffdepth models` lists")
        return cls.from_checkpoint(model_names.find_model(name))

    def is_calibrated(self, ensemble: int, num_steps: int) -> bool:
        """Tells whether intervals of so many samples and sampler steps are calibrated."""
        return self._intervals.are_calibrated(ensemble, num_steps)

    def identities(self, options: Options) -> dict[str, str]:
        """Short texts that differ for another model: of its parameters (""), and of its files."""
        of_configuration = {" (its config.json)": self.configuration_identity}
        return of_configuration | self._intervals.identities(options)

    def __repr__(self) -> str:
        (height, width), model = self.image_size, self._config.model
        return f"DepthEstimator({model.kind}, {model.backbone}, {height} x {width})"

    @overload
    def __call__(
        self,
        images: ImageLike,
        *,
        focal_length: FocalLengths = None,
        fov: float | None = None,
        **options: Unpack[Keywords],
    ) -> DepthPrediction: ...

    @overload
    def __call__(
        self,
        images: list[_ImageT] | tuple[_ImageT, ...],
        *,
        focal_length: FocalLengths = None,
        fov: float | None = None,
        **options: Unpack[Keywords],
    ) -> list[DepthPrediction]: ...

    def __call__(
        self,
        images: ImageLike | list[_ImageT] | tuple[_ImageT, ...],
        *,
        num_steps: int | None = None,
        seed: int = 0,
        ensemble: int = 1,
        trajectory: bool | int = False,
        native_size: bool = False,
        padded_sizes: Sequence[Size] = (),
        focal_length: FocalLengths = None,
        fov: float | None = None,
        batch_size: int = 1,
        interval: float | None = None,
    ) -> DepthPrediction | list[DepthPrediction]:
        """Predicts the depth of an image, or of each image of a list.

        Args:
          images: RGB [H, W, 3] or grey [H, W] or [H, W, 1] of any size, uint8 or uint16 (see
            `as_rgb`), a PIL image, the path of an image file, or a list of these. Files and PIL
            images are turned by their EXIF orientation.
          num_steps: number of sampler steps; default: the configuration's.
          seed: of the starting noise. The noise depends on nothing else, so that equal images have
            equal depth.
          ensemble: number of starting noises for each image. The image is encoded once, and all its
            samples are computed in one batch. The first noise is the one of `ensemble=1`.
          trajectory: whether the latent is also decoded at every step. A number asks for so many
            steps at least: where the depth takes fewer, its sampler runs once more for them.
          native_size: predict at the image's own size instead of the model's image size.
          padded_sizes: (H, W)s. An image that is predicted at its own size is padded to the
            smallest of these that holds it, so that images of many sizes compile few programs.
          focal_length: of the camera in pixels of the image, if known. The metres are then those
            for this camera; otherwise those for the focal length that the model assumes. For a list
            of images it may be a list of numbers or None, or an array.
          fov: the camera's horizontal field of view in degrees, in place of the focal length.
          batch_size: number of images of a list that are predicted together, if they are brought to
            the same size. A short batch is filled up, so that one program is compiled for a size.
          interval: the part of the pixels whose truth an interval shall hold, such as 0.9. It is
            that of the model's calibration. Without one it is made of the members' quantiles and
            the model's Laplace scale, which is told once.

        Returns:
          A DepthPrediction at the image's size; for a list of images, a list of them.

        Raises:
          UserError: an image is none or too large for the memory, the focal length is unknown, a
            number is out of range, the interval cannot be made, see `Intervals.check`, or the model
            is relative.
        """
        options = Options(
            num_steps, seed, ensemble, trajectory, native_size, padded_sizes, batch_size, interval
        )
        if self.is_relative:
            raise UserError("this model is relative and knows no metres: call estimator.relative")
        self.check(options)
        several = isinstance(images, (list, tuple))
        read = [as_rgb(image) for image in (images if several else [images])]
        predictions = self._predict(read, of_images(read, focal_length, fov), options)
        return predictions if several else predictions[0]

    def iterate(
        self,
        images: Iterable[ImageLike],
        *,
        focal_length: float | None = None,
        fov: float | None = None,
        **options: Unpack[Keywords],
    ) -> Iterator[DepthPrediction]:
        """Predicts images one after the other, in their order, such as those of a large folder.

        At most `batch_size` images and predictions are in memory at the same time. The arguments
        and errors are those of `__call__`; the camera is one for all images.
        """
        chosen = Options(**options)
        self.check(chosen)
        remaining = iter(images)
        batches = iter(lambda: list(itertools.islice(remaining, chosen.batch_size)), [])
        each = (self(some, focal_length=focal_length, fov=fov, **options) for some in batches)
        return itertools.chain.from_iterable(each)

    def placement(self, height: int, width: int, options: Options) -> Placement:
        """Returns the placement at which an image of this size is predicted.

        Raises:
          UserError: a batch of such images would not fit into the memory.
        """
        if options.native_size:
            placed = placement.native((height, width), options.padded_sizes)
        else:
            placed = placement.scaled((height, width), self._config.frame.size)
        memory.check_fits(self._config.model, placed.target, options.samples)
        return placed

    def check(self, options: Options) -> None:
        """Raises a UserError if an option is out of range or means nothing to this model."""
        check_options(options, self._config)
        self._intervals.check(options, self.num_steps)

    def relative(self, images: Sequence[ImageLike], **fields: Any) -> list[RelativePrediction]:
        """What a relative model says of each image; `fields` are those of `Options`."""
        if not self.is_relative:
            raise UserError("this model is no relative one: call it, and get metres")
        self.check(options := Options(**fields))
        read = [as_rgb(image) for image in images]
        each = zip(read, self._placed_maps(read, options), strict=True)
        return [relative_at_image_size(image, *found) for image, found in each]

    def _predict(
        self, images: list[RGB], focal_lengths: list[float | None], options: Options
    ) -> list[DepthPrediction]:
        each = zip(images, self._placed_maps(images, options), focal_lengths, strict=True)
        return [
            self._completed(at_image_size(image, placed, maps), options, placed.scale, own)
            for image, (placed, maps), own in each
        ]

    def _placed_maps(
        self, images: list[RGB], options: Options
    ) -> list[tuple[Placement, dict[str, np.ndarray]]]:
        """Where each image lies in what the network sees, and the maps of that, by batches."""
        placements = [self.placement(*image.shape[:2], options) for image in images]
        found: dict[int, dict[str, np.ndarray]] = {}
        for rows in placement.batches([placed.target for placed in placements], options.batch_size):
            pictures = [placement.place(images[row], placements[row]) for row in rows]
            pictures += pictures[-1:] * (options.batch_size - len(pictures))
            normalized = np.stack([preprocessing.normalize_image(picture) for picture in pictures])
            maps = self._maps(normalized, options)
            found |= {row: {k: maps[k][i] for k in maps} for i, row in enumerate(rows)}
        return [(placed, found[row]) for row, placed in enumerate(placements)]

    def _maps(
        self, image: Float32[np.ndarray, "batch height width 3"], options: Options
    ) -> dict[str, np.ndarray]:
        """Computes the maps of normalised pictures, see `create_predict`."""
        steps = options.num_steps or self.num_steps
        shown = options.trajectory_steps(steps, self._config.diffusion.num_timesteps)
        if not shown or shown == steps:
            return self._run(image, options, steps)
        plain = dataclasses.replace(options, trajectory=False)
        apart = dataclasses.replace(options, ensemble=1, interval=None)
        trajectory = self._run(image, apart, shown)["trajectory"]
        return self._run(image, plain, steps) | {"trajectory": trajectory}

    def _run(
        self, image: Float32[np.ndarray, "batch height width 3"], options: Options, num_steps: int
    ) -> dict[str, np.ndarray]:
        with memory.explained(image.shape[1:3], options.samples):
            maps = self._compiled(
                self._variables,
                image,
                jax.random.key(options.seed),
                num_steps=num_steps,
                ensemble=options.ensemble,
                trajectory=bool(options.trajectory),
                interval=self._intervals.uncalibrated(options),
            )
            return jax.device_get(maps)

    @functools.cached_property
    def _compiled(self) -> Callable[..., dict[str, Array]]:
        return predict_function(self._model, self._schedule, self._config)

    def _completed(
        self,
        prediction: DepthPrediction,
        options: Options,
        scale: float,
        focal_length: float | None,
    ) -> DepthPrediction:
        """Adds the interval and the focal length; see `Intervals.add` for their order."""
        camera = self._config.frame, scale, focal_length
        if self.has_canonical_camera:
            return self._intervals.add(in_metres(prediction, *camera), options)
        return in_metres(self._intervals.add(prediction, options), *camera)
