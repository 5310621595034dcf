"""Intrinsics of KITTI's rectified cameras."""

import pathlib
from collections.abc import Callable

from diffdepth_jax.data.frames import Found, Frame, Intrinsics, file_frame
from diffdepth_jax.errors import UserError

_FILE = "calib_cam_to_cam.txt"


class Calibrations:
    """Finds the intrinsics of raw images; reads each calibration file once."""

    def __init__(self, roots: list[pathlib.Path]) -> None:
        """`roots`: folders of raw data, in which the calibration files are searched."""
        self._roots = roots
        self._known: dict[tuple[pathlib.Path, str], Intrinsics] = {}

    def __call__(self, image: pathlib.Path) -> Intrinsics:
        """Intrinsics of the camera that took DATE_drive_NUMBER_sync/image_0K/data/FRAME.png.

        Raises:
          UserError: the calibration file is missing or damaged.
        """
        drive, camera = image.parents[2], image.parents[1].name
        if (drive, camera) not in self._known:
            self._known[drive, camera] = self._find(drive, camera)
        return self._known[drive, camera]

    def _find(self, drive: pathlib.Path, camera: str) -> Intrinsics:
        date = drive.name[:10]
        folders = [drive, drive.parent, *(root / date for root in self._roots)]
        folders += [root / "raw" / date for root in self._roots]
        path = next((folder / _FILE for folder in folders if (folder / _FILE).is_file()), None)
        if path is None:
            raise UserError(
                f"{_FILE} of {date} is missing: expected {drive / _FILE} or {drive.parent / _FILE};"
                f" it comes in {date}_calib.zip of the raw data"
            )
        return _read(path, f"P_rect_{camera[-2:]}")


def _read(path: pathlib.Path, key: str) -> Intrinsics:
    """The left 3 x 3 of a projection matrix, which follows "KEY:" as 12 numbers, row by row."""
    try:
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        numbers = [float(number) for number in lines[key].split()]
        if len(numbers) != 12:
            raise ValueError(f"{key} has {len(numbers)} numbers, expected 12")
        return tuple(tuple(numbers[row : row + 3]) for row in (0, 4, 8))
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); extract it again") from error


def calibrated_frames(
    name: str,
    drive: str,
    image: pathlib.Path,
    depth: pathlib.Path | None,
    read_intrinsics: Callable[[], Intrinsics],
    found: Found,
) -> list[Frame]:
    """A list of the one frame; empty if `read_intrinsics()` fails, which is then reported."""
    try:
        return [file_frame(name, drive, image, depth, read_intrinsics())]
    except UserError as error:
        found.problems.append(str(error))
        return []


def read_intrinsics(path: pathlib.Path) -> Intrinsics:
    """Reads an intrinsics file of the benchmark's selected images: 9 numbers, row by row."""
    try:
        numbers = [float(number) for number in path.read_text().split()]
        if len(numbers) != 9:
            raise ValueError(f"{len(numbers)} numbers, expected 9")
    except (OSError, ValueError) as error:
        raise UserError(f"intrinsics {path} cannot be read ({error}); extract it again") from error
    return tuple(tuple(numbers[row : row + 3]) for row in (0, 3, 6))
