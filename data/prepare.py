"""Prepares a dataset: checks every file of a raw download, then writes records.

diffdepth prepare --dataset=nyu_depth/sync --source=DIR --data_dir=datasets
diffdepth prepare --inspect=DIR

data/README.md lists the datasets, and the files that the source of each must hold. --inspect looks
at any folder of RGB-D data, or at a list of pairs. It says what it may be and what is odd about it,
draws a contact sheet, and prints a command that trains on it.
"""

import pathlib

from absl import flags

from diffdepth_jax.errors import UserError
from diffdepth_jax.program.cores import usable_cores
from diffdepth_jax.program.entry import start
from diffdepth_jax.program.help_page import Page
from diffdepth_jax.program.interruption import telling
from diffdepth_jax.program.path_flags import define_path

_DATASET = flags.DEFINE_string("dataset", None, "DATASET/SOURCE, such as nyu_depth/sync.")
_SOURCE = define_path("source", "Folder, archive or .mat file of the raw download.")
_DEPTH_SOURCE = define_path(
    "depth_source",
    "Folder or archive of the depth (KITTI: data_depth_annotated), if not in --source.",
)
_DATA_DIR = define_path("data_dir", "Where prepared datasets are kept.")
_SPLITS = flags.DEFINE_list("splits", None, "Splits to prepare; default: all of the source.")
_TRAIN_LIST = define_path("train_list", "List file of the training split.")
_TEST_LIST = define_path("test_list", "List file of the test split.")
_TEST_DEPTH = define_path(
    "test_depth", "kitti_depth/eigen: depth maps of the test list in one file, gt_depths.npz."
)
_ANY_SIZE = flags.DEFINE_bool(
    "any_size", False, "Accept other numbers of frames and picture sizes than the published ones."
)
_ALLOW_SHARED_SCENES = flags.DEFINE_bool(
    "allow_shared_scenes", False, "Accept scenes or drives that train shares with another split."
)
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Replace the dataset if it is prepared already.",
    allow_override=True,  # other programs have a flag of this name
)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", None, "Processes that read and check; default: one for each core.", lower_bound=1
)

_INSPECT = define_path(
    "inspect", "Folder, list or archive to look at, instead of preparing a dataset."
)
_SHEET = define_path("sheet", "inspect: the contact sheet to write; default: inspection.png.")
_REQUIRED = ("dataset", "source", "data_dir")
_PAGE = Page(
    __doc__,
    {
        "Look at data": ("inspect", "sheet"),
        "Prepare a dataset": (*_REQUIRED, "depth_source", "splits", "overwrite", "num_workers"),
        "Other splits and sizes": (
            "train_list",
            "test_list",
            "test_depth",
            "any_size",
            "allow_shared_scenes",
        ),
    },
)


def _path(flag: flags.FlagHolder[str | None]) -> pathlib.Path:
    return pathlib.Path(flag.value or "")


def _run() -> None:
    # Here, because --help and wrong flags need not wait for the libraries of data sets.
    if _INSPECT.value is not None:
        from diffdepth_jax.data.inspection import SHEET, inspect

        print(inspect(_INSPECT.value, _SHEET.value or SHEET))
        return
    missing = [f"--{name}" for name in _REQUIRED if flags.FLAGS[name].value is None]
    if missing:
        raise UserError(f"missing: {', '.join(missing)}; or --inspect=PATH to look at data")
    _prepare()


def _prepare() -> None:
    from diffdepth_jax.data.frames import Options
    from diffdepth_jax.data.preparation import prepare

    lists = {"train": _TRAIN_LIST.value, "test": _TEST_LIST.value}
    options = Options(
        source=_path(_SOURCE),
        data_dir=_path(_DATA_DIR),
        splits=tuple(_SPLITS.value or ()),
        depth_source=_path(_DEPTH_SOURCE) if _DEPTH_SOURCE.value else None,
        lists={split: path for split, path in lists.items() if path},
        test_depth=_path(_TEST_DEPTH) if _TEST_DEPTH.value else None,
        any_size=_ANY_SIZE.value,
        allow_shared_scenes=_ALLOW_SHARED_SCENES.value,
        num_workers=_NUM_WORKERS.value or usable_cores(),
    )
    with telling(lambda: f"{_DATASET.value} was not written"):
        prepare(_DATASET.value or "", options, _OVERWRITE.value)


def main() -> None:
    start(_run, required=[], page=_PAGE)


if __name__ == "__main__":
    main()
