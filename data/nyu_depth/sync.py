"""NYU `sync` folders: SCENE/rgb_00000.jpg and SCENE/sync_depth_00000.png with list files."""

import pathlib

from diffdepth_jax.data.frames import Found, Options, file_frame
from diffdepth_jax.data.lists import find_list, missing_list, read_list, resolve
from diffdepth_jax.datasets.records import NYU_INTRINSICS


def find(options: Options) -> Found:
    """The frames that the list of each split names, in its order."""
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


def _frame(entry, list_path, roots, found):
    number, image, depth = entry
    where = f"{list_path}, line {number}"
    paths = [resolve([root / name for root in roots], where, found) for name in (image, depth)]
    if None in paths:
        return None
    name = str(pathlib.PurePosixPath(image).with_suffix(""))
    return file_frame(name, str(pathlib.PurePosixPath(image).parent), *paths, NYU_INTRINSICS)
