"""Intrinsics of KITTI's rectified cameras."""

import pathlib

from diffdepth_jax.data.frames import Found, file_frame
from diffdepth_jax.errors import UserError

_FILE = "calib_cam_to_cam.txt"


class Calibrations:
    """Intrinsics of any raw image, each calibration file read once."""

    def __init__(self, roots: list[pathlib.Path]):
        self._roots = roots
        self._known = {}

    def __call__(self, image: pathlib.Path) -> tuple:
        """3 x 3 of the camera of DATE_drive_NUMBER_sync/image_0K/data/FRAME.png."""
        drive, camera = image.parents[2], image.parents[1].name
        if (drive, camera) not in self._known:
            self._known[drive, camera] = self._find(drive, camera)
        return self._known[drive, camera]

    def _find(self, drive, camera):
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


def _read(path, key):
    """The left 3 x 3 of a projection matrix: "KEY: " and 12 numbers, row by row."""
    try:
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        numbers = [float(number) for number in lines[key].split()]
        if len(numbers) != 12:
            raise ValueError(f"{key} has {len(numbers)} numbers, expected 12")
        return tuple(tuple(numbers[row : row + 3]) for row in (0, 4, 8))
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); extract it again") from error


def calibrated_frames(name, drive, image, depth, read_intrinsics, found: Found) -> list:
    """The one frame, or none if `read_intrinsics()` fails, which is reported."""
    try:
        return [file_frame(name, drive, image, depth, read_intrinsics())]
    except UserError as error:
        found.problems.append(str(error))
        return []


def read_intrinsics(path: pathlib.Path) -> tuple:
    """3 x 3 of an intrinsics file of the benchmark's test images: 9 numbers, row by row."""
    try:
        numbers = [float(number) for number in path.read_text().split()]
        if len(numbers) != 9:
            raise ValueError(f"{len(numbers)} numbers, expected 9")
    except (OSError, ValueError) as error:
        raise UserError(f"intrinsics {path} cannot be read ({error}); extract it again") from error
    return tuple(tuple(numbers[row : row + 3]) for row in (0, 3, 6))
