"""NYU `sync` folders: SCENE/rgb_00000.jpg and SCENE/sync_depth_00000.png with list files."""

import pathlib

from diffdepth_jax.data.frames import Found, Frame, Options, file_frame
from diffdepth_jax.data.lists import find_list, missing_list, read_list, resolve
from diffdepth_jax.datasets.records import NYU_INTRINSICS


def find(options: Options) -> Found:
    """Finds the frames that the list of each split names, in the order of the list."""
    found = Found()
    for split in options.splits:
        defaults = (f"{split}.txt", f"nyudepthv2_{split}_files_with_gt.txt")
        path = find_list(options, split, defaults)
        if path is None:
            found.problems.append(missing_list(options, split, defaults))
            continue
        # In the usual download the training pairs lie in one folder, the test pairs in another.
        folders = ("", "sync", split, f"official_splits/{split}")
        roots = [root / folder for root in options.roots for folder in folders]
        frames = [_frame(entry, path, roots, found) for entry in read_list(path)]
        found.frames[split] = [frame for frame in frames if frame is not None]
    return found


def _frame(
    entry: tuple[int, str, str], list_path: pathlib.Path, roots: list[pathlib.Path], found: Found
) -> Frame | None:
    """The frame that a line names, or None if a file of it is missing, which is then reported."""
    number, image, depth = entry
    where = f"{list_path}, line {number}"
    image_path = resolve([root / image for root in roots], where, found)
    depth_path = resolve([root / depth for root in roots], where, found)
    if image_path is None or depth_path is None:
        return None
    name = pathlib.PurePosixPath(image)
    scene, name = str(name.parent), str(name.with_suffix(""))
    return file_frame(name, scene, image_path, depth_path, NYU_INTRINSICS)
