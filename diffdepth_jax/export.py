"""Writes a model as one file of StableHLO, which a program that has only jax can run, or of ONNX.

diffdepth export --checkpoint=runs/synthetic --output=depth.stablehlo

With --format=model it writes a model directory for others instead: without paths of this machine,
and in float16 if that does not change depth, see `published_model`.

With --output=FILE.onnx it writes ONNX, which ONNX Runtime runs (pip install onnx, which writes it).
docs/load_onnx.py runs the file, which takes images like the one below, and has the noise of seed 0
inside.

The function in a file of StableHLO takes uint8 RGB images [B, H, W, 3] and a seed, uint32 []. It
returns metres, float32 [B, H, W]. Equal images have equal depth. The batch and the size of the
images are symbolic, so that one file serves all of them, on CPU, CUDA and TPU: one image or more,
with sides from 1 to 16384 pixels. Images are taken as they are: the caller turns a photo by its
EXIF orientation. docs/load_exported.py runs the file.
"""

import os
import pathlib
from collections.abc import Sequence

from absl import flags

from diffdepth_jax.errors import UserError, did_you_mean
from diffdepth_jax.program import default_model
from diffdepth_jax.program.entry import start
from diffdepth_jax.program.help_page import Page
from diffdepth_jax.program.interruption import telling
from diffdepth_jax.program.path_flags import define_path

_CHECKPOINT = define_path("checkpoint", default_model.HELP, allow_override=True)
_OUTPUT = define_path(
    "output", "File to write; with --parameters=beside also FILE.npz.", allow_override=True
)
_FORMAT = flags.DEFINE_enum(
    "format",
    None,
    ["stablehlo", "onnx", "model"],
    "stablehlo: one file that needs only jax. onnx: one file for ONNX Runtime and others. model: a "
    "model directory to give to others. Default: what the output ends in, .onnx or .stablehlo.",
    allow_override=True,
)
_NETWORK_SIZE = flags.DEFINE_string(
    "network_size",
    "model",
    "Size to which images are resized inside: model (the model's image size) or HEIGHTxWIDTH. "
    "native: images are not resized, and their sides must be multiples of 32.",
    allow_override=True,
)
_NUM_STEPS = flags.DEFINE_integer(
    "num_steps", None, "Number of sampler steps; default: the model's.", allow_override=True
)
_DTYPE = flags.DEFINE_enum(
    "dtype", None, ["float32", "bfloat16"], "Type to compute in; default: the model's."
)
_PARAMETERS = flags.DEFINE_enum(
    "parameters",
    "inside",
    ["inside", "beside"],
    "Where the parameters are: inside the file, or beside it in FILE.npz. In the latter case they "
    "are the first argument of the function.",
)

_OF_STABLEHLO = ("network_size", "num_steps", "dtype", "parameters")
_ENDINGS = {".stablehlo": "stablehlo", ".onnx": "onnx"}
_PAGE = Page(
    __doc__,
    {"Required": ("checkpoint", "output"), "What is written": ("format", *_OF_STABLEHLO)},
)
_MEANINGLESS = {  # flags that a format does not know
    "model": _OF_STABLEHLO,
    "onnx": ("dtype", "parameters"),
    "stablehlo": (),
}


def run() -> None:
    # Here, because --help and wrong flags need not wait for JAX.
    from diffdepth_jax.checkpoints.model_names import find_model

    # `start` requires both flags: they have values.
    directory, output = find_model(_CHECKPOINT.value or ""), pathlib.Path(_OUTPUT.value or "")
    kind = _FORMAT.value or _kind_of(output)
    _refuse(_MEANINGLESS[kind], kind)
    with telling(lambda: f"{output} was not written"):
        print(_written(directory, output, kind))


def _kind_of(output: pathlib.Path) -> str:
    """The format that the ending of a file names; without an ending it is StableHLO."""
    ending = output.suffix or ".stablehlo"
    if ending not in _ENDINGS:
        known, near = " or ".join(_ENDINGS), did_you_mean(ending, _ENDINGS)
        raise UserError(f"output {output}: must end in {known}, or give --format{near}")
    return _ENDINGS[ending]


def _written(directory: str | os.PathLike, output: pathlib.Path, kind: str) -> str:
    """Writes the file or directory; returns a line on it."""
    from diffdepth_jax.prediction.model_file import ExportOptions, export_model, export_onnx
    from diffdepth_jax.prediction.published_model import publish_model

    if kind == "model":
        return publish_model(directory, output)
    size, num_steps = _NETWORK_SIZE.value, _NUM_STEPS.value
    if kind == "onnx":
        return export_onnx(directory, output, size, num_steps)
    options = ExportOptions(size, num_steps, _DTYPE.value, _PARAMETERS.value == "inside")
    return export_model(directory, output, options)


def _refuse(names: Sequence[str], kind: str) -> None:
    for name in names:
        if flags.FLAGS[name].present:
            raise UserError(f"--{name} means nothing to --format={kind}: leave it out")


def main() -> None:
    start(run, required=["checkpoint", "output"], page=_PAGE)


if __name__ == "__main__":
    main()
