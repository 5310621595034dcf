"""The canonical camera, by which depth of cameras of different focal lengths is learned as one.

It is Metric3D's transformation of labels (Yin et al. 2023, arXiv 2307.10984, section 3.1).
"""

import dataclasses

from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets.intrinsics import focal_length
from diffdepth_jax.datasets.samples import Sample
from diffdepth_jax.errors import UserError

PLAUSIBLE = (0.1, 20)  # focal lengths by the width of the image
NAMELESS = "without a name"  # what messages call a sample of a source without names


@dataclasses.dataclass(frozen=True)
class CanonicalCamera:
    """The camera through which depth is learned as if all frames were seen through it.

    An object twice as far away, seen through a lens of twice the focal length, has the same image.
    So a network cannot tell metres where focal lengths differ. It can tell metres times
    canonical / own focal length, which are the units that it learns.

    Attributes:
      focal_length: in pixels at the network's input; 0: the units are metres.
      assumed: the focal length of frames whose own is unknown; 0: there is none to assume.
    """

    focal_length: float = 0.0
    assumed: float = 0.0

    @classmethod
    def of(cls, config: Configuration) -> "CanonicalCamera":
        """The camera that a configuration describes; of a mixture none can be assumed for all."""
        assumed = 0.0 if config.data.source == "mixture" else config.frame.focal_length
        return cls(config.frame.canonical_focal_length, assumed)

    def check(self, sample: Sample) -> None:
        """Raises a UserError if the focal length of a sample is needed, but unknown or absurd.

        A third column of a list may be another number, such as a time.
        """
        name, own = sample.get("name", NAMELESS), focal_length(sample)
        self.metres_per_unit(own, name)
        if not (self.focal_length and own):
            return
        width = sample["image"].shape[1]
        if not PLAUSIBLE[0] <= own / width <= PLAUSIBLE[1]:
            raise UserError(
                f"sample {name}: a focal length of {own:g} pixels does not fit an image {width} "
                "pixels wide: check the third column of the list, and data.folder.focal_length"
            )

    def metres_per_unit(self, own: float, name: str) -> float:
        """The factor that brings what is learned of a frame back to metres.

        Args:
          own: the frame's focal length in pixels at the network's input; 0: unknown.
          name: of the frame, for messages.

        Raises:
          UserError: no focal length is known.
        """
        if not self.focal_length:
            return 1.0
        if not (own or self.assumed):
            raise UserError(
                f"sample {name}: its focal length is unknown, but frame.canonical_focal_length "
                "needs it: give it in a third column of the list, as data.folder.focal_length, or "
                "as frame.focal_length; in a mixture, as focal_length of its part"
            )
        return (own or self.assumed) / self.focal_length


METRES = CanonicalCamera()  # without a focal length its units are metres
