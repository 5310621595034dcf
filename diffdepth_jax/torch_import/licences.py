"""The licences under which authors have released weights, by the kind of a file and its encoder.

A file does not say who trained it: a licence is that of the authors' own file of the kind.
"""

from typing import NamedTuple

from diffdepth_jax.torch_import.kinds import Kind


class Licence(NamedTuple):
    """A licence.

    Attributes:
      identifier: the hub's short name, for the head of a model card.
      text: its name, and what it is of.
    """

    identifier: str
    text: str


_APACHE, _NON_COMMERCIAL = "apache-2.0", "cc-by-nc-4.0"
_SMALL = Licence(_APACHE, "Apache-2.0, of the authors' Depth Anything V2 Small")
_LARGER = Licence(
    _NON_COMMERCIAL,
    "CC BY-NC 4.0, not for commercial use, of the authors' Depth Anything V2 Base, Large and Giant",
)
_DINOV2 = Licence(_APACHE, "Apache-2.0, of the authors' DINOv2")
_DINOV3 = Licence("other", "the DINOv3 License, with conditions of its own, of the authors' DINOv3")


def licence_of(kind: Kind, backbone: str) -> Licence | None:
    """The licence of the authors' file of this kind with this encoder; None: not known here."""
    if kind.name.startswith("Depth Anything"):
        return _SMALL if backbone == "dinov2_small" else _LARGER
    known = {"DINOv2": _DINOV2, "DINOv3": _DINOV3}
    return known.get(kind.name.partition(",")[0])
