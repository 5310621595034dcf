"""NYU `sync` folders: SCENE/rgb_00000.jpg and SCENE/sync_depth_00000.png with list files."""

import pathlib

from diffdepth_jax.data.frames import Found, Frame, Options, file_frame
from diffdepth_jax.data.lists import find_list, frame_name, missing_list, resolve
from diffdepth_jax.media.camera import NYU
from diffdepth_jax.media.path_lists import Pair, candidates, read_pairs


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
        frames = [_frame(pair, path, roots, found) for pair in read_pairs(path)]
        found.frames[split] = [frame for frame in frames if frame is not None]
    return found


def _frame(
    pair: Pair, list_path: pathlib.Path, roots: list[pathlib.Path], found: Found
) -> Frame | None:
    """The frame that a line names, or None if a file of it is missing, which is then reported."""
    where = f"{list_path}, line {pair.number}"

    def file_of(listed: str) -> pathlib.Path | None:
        paths = candidates(listed, lambda inside: [root / inside for root in roots])
        return resolve(paths, where, found, pair.advice)

    image, depth = file_of(pair.image), file_of(pair.depth)
    if image is None or depth is None:
        return None
    name = frame_name(pair.image, image, roots)
    return file_frame(str(name), str(name.parent), image, depth, NYU.rows)
