"""What the configuration of a model says to those who predict with it."""

from diffdepth_jax.configuration.groups import ModelConfiguration
from diffdepth_jax.media.preprocessing import Size
from diffdepth_jax.models.identity import short_identity
from diffdepth_jax.prediction.focal_lengths import assumed


class ModelFacts:
    """The facts, as properties."""

    def __init__(self, config: ModelConfiguration) -> None:
        self._config = config

    @property
    def focal_length(self) -> float:
        """The focal length in pixels, at the model's image size, that metres assume; 0: unknown."""
        return assumed(self._config.frame)

    @property
    def image_size(self) -> Size:
        """(height, width) to which images are resized, aspect kept."""
        return self._config.frame.size

    @property
    def has_canonical_camera(self) -> bool:
        """Whether the model learned from cameras of several focal lengths, see `CanonicalCamera`.

        Its metres are then right for any camera whose focal length is given.
        """
        return self._config.frame.canonical_focal_length > 0

    @property
    def is_relative(self) -> bool:
        """Whether the model knows no metres, see `relative`."""
        return self._config.model.is_relative

    @property
    def diffuses(self) -> bool:
        """Whether the model refines noise; otherwise it is a feed-forward model."""
        return self._config.model.kind == "diffusion"

    @property
    def configuration_identity(self) -> str:
        """A short text that differs where a field changes what equal parameters say."""
        config = self._config
        return short_identity(
            (config.frame, config.diffusion, config.sampler, config.model.sharpen)
        )

    @property
    def has_scale(self) -> bool:
        """Whether one sample has a spread, from its Laplace scale."""
        return self._config.model.laplace_scale

    @property
    def num_steps(self) -> int:
        """The number of sampler steps of the model's configuration."""
        return self._config.sampler.num_steps
