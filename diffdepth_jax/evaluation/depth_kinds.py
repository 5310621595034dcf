"""What the numbers of depth files are."""

from typing import Literal

Kind = Literal["depth", "disparity", "relative_depth", "relative_disparity"]
# For those without a unit, the only alignment that gives metres.
KINDS: dict[Kind, str] = {
    "depth": "",
    "disparity": "",
    "relative_depth": "scale_shift",
    "relative_disparity": "scale_shift_disparity",
}
