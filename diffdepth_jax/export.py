"""A model as one file of StableHLO, which a program that has only jax can run.

python -m diffdepth_jax.export --checkpoint=DIR --output=FILE

The function in the file takes uint8 RGB images [B, H, W, 3] and a seed, uint32 [], and returns
metres, float32 [B, H, W]: equal images have equal depth, as everywhere in this package. The batch
and the size of the images are symbolic, so one file serves all, on CPU, CUDA and TPU.
docs/load_exported.py runs it.
"""

import os
import pathlib

import numpy as np
from absl import flags

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.estimator import load_model
from diffdepth_jax.prediction.stablehlo import depth_function, export_depth, parse_size
from diffdepth_jax.program.entry import start

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Model directory, such as runs/synthetic.", allow_override=True
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "File to write; with --parameters=beside also FILE.npz.", allow_override=True
)
_NETWORK_SIZE = flags.DEFINE_string(
    "network_size",
    "model",
    "What images are resized to inside, and depth back: model (its inference size) or HEIGHTxWIDTH;"
    " native: not resized, their sides have to be multiples of 32.",
    allow_override=True,
)
_NUM_STEPS = flags.DEFINE_integer(
    "num_steps", None, "Sampler steps; default: the model's.", allow_override=True
)
_DTYPE = flags.DEFINE_enum(
    "dtype", None, ["float32", "bfloat16"], "To compute in; default: the model's."
)
_PARAMETERS = flags.DEFINE_enum(
    "parameters",
    "inside",
    ["inside", "beside"],
    "inside the file, or in FILE.npz beside it: then they are the first argument of the function.",
)


def check_output(path):
    """Refuses what cannot be written before minutes are spent on it."""
    if path.is_dir():
        raise UserError(f"output {path} is a folder: give the name of a file")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"output {path}: {path.parent} is no folder that can be written to")


def write_whole(path, write):
    """Writes a file whole or not at all; `write` takes it open."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            write(file)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def run():
    output = pathlib.Path(_OUTPUT.value)
    check_output(output)
    replaced = {} if _DTYPE.value is None else {"dtype": _DTYPE.value}
    model, schedule, variables, config = load_model(_CHECKPOINT.value, **replaced)
    target = parse_size(_NETWORK_SIZE.value, config.inference.size)
    sampler = dict(config.sampler)
    if _NUM_STEPS.value is not None:
        sampler["num_steps"] = _NUM_STEPS.value
    predict = depth_function(model, schedule, sampler, target)
    exported, arrays = export_depth(predict, variables, target, _PARAMETERS.value == "inside")
    write_whole(output, lambda file: file.write(exported.serialize()))
    if arrays:
        write_whole(pathlib.Path(f"{output}.npz"), lambda file: np.savez(file, **arrays))
    _describe(output, exported, arrays, sampler, target)


def _describe(output, exported, arrays, sampler, target):
    shape = ", ".join(map(str, exported.in_avals[-2].shape))
    first = f"parameters of {output}.npz, " if arrays else ""
    size = "at their own size" if target is None else f"seen at {target[0]} x {target[1]}"
    print(
        f"{output}: ({first}images uint8 [{shape}], seed uint32 []) -> metres float32; images "
        f"{size}, {sampler['num_steps']} steps; {', '.join(exported.platforms)}; "
        f"{output.stat().st_size / 2**20:.1f} MiB; python docs/load_exported.py runs it"
    )


def main():
    start(run, required=["checkpoint", "output"])


if __name__ == "__main__":
    main()
