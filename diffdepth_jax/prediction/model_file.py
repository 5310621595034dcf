"""Writes a model as one file, of StableHLO or of ONNX."""

import dataclasses
import os
import pathlib
import shlex
from collections.abc import Callable
from typing import Any

import jax
import jax.export
import numpy as np

from diffdepth_jax.arrays import Variables
from diffdepth_jax.configuration.groups import ModelConfiguration
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.preprocessing import Size
from diffdepth_jax.prediction.focal_lengths import assumed, metres_per_unit
from diffdepth_jax.prediction.loading import load_model
from diffdepth_jax.prediction.options import Options, check_options
from diffdepth_jax.prediction.stablehlo import LONGEST, depth_function, export_depth, parse_size
from diffdepth_jax.whole_files import whole_file


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """How a model is exported.

    Attributes:
      network_size: the size to which images are resized inside, see `parse_size`.
      num_steps: number of sampler steps; None: the configuration's.
      dtype: the type that the function computes in; None: the configuration's.
      parameters_inside: whether the file holds the parameters; otherwise they lie in FILE.npz.
    """

    network_size: str = "model"
    num_steps: int | None = None
    dtype: str | None = None
    parameters_inside: bool = True


def export_model(
    directory: str | os.PathLike[str], output: pathlib.Path, options: ExportOptions
) -> str:
    """Writes the file of a model directory; returns a line on what the function in it takes.

    Raises:
      UserError: the directory holds no model, the file cannot be written, or an option is wrong.
    """
    _check_output(output)
    model, schedule, variables, config = load_model(directory, options.dtype)
    size = parse_size(options.network_size, config.frame.size)
    sampler = _sampler(config, options.num_steps)
    factor = metres_per_unit(config.frame, None)
    predict = depth_function(model, schedule, sampler, size, factor)
    exported, arrays = export_depth(predict, variables, size, options.parameters_inside)
    _write(output, exported, arrays)
    result, holds = _meaning(config)
    return f"{_description(output, exported, result, sampler['num_steps'], size)}; {holds}"


def export_onnx(
    directory: str | os.PathLike[str],
    output: pathlib.Path,
    network_size: str,
    num_steps: int | None,
) -> str:
    """Writes an ONNX file, which computes in float32; see `ExportOptions` and `export_model`."""
    onnx_model = _import_onnx_model()
    _check_output(output)
    model, schedule, variables, config = load_model(directory, "float32")
    size = parse_size(network_size, config.frame.size)
    if size is None:
        raise UserError("network_size native: ONNX export needs a size: model or HEIGHTxWIDTH")
    sampler = _sampler(config, num_steps)
    _check_bytes(variables)
    factor = metres_per_unit(config.frame, None)
    with whole_file(output) as unfinished:
        made = onnx_model(model, schedule, variables, sampler, size, factor)
        unfinished.write_bytes(made.SerializeToString())
    return _description_of_onnx(output, sampler["num_steps"], size, *_meaning(config))


def _sampler(config: ModelConfiguration, num_steps: int | None) -> dict[str, Any]:
    """The fields of the sampler; a UserError if the model has no such number of steps."""
    check_options(Options(num_steps=num_steps), config)
    return {**vars(config.sampler), **({} if num_steps is None else {"num_steps": num_steps})}


def _check_bytes(variables: Variables) -> None:
    """Refuses what no ONNX file holds: it is a message of Protocol Buffers, of less than 2 GiB."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(variables))
    if size >= 2**31 - 2**20:
        raise UserError(
            f"the parameters take {size / 2**30:.1f} GiB, and an ONNX file holds less than 2: "
            "export to FILE.stablehlo with --parameters=beside"
        )


def _description_of_onnx(
    output: pathlib.Path, num_steps: int, size: Size, result: str, holds: str
) -> str:
    return (
        f"{output}: images uint8 [batch, height, width, 3] -> {result} float32; images seen "
        f"at {size[0]} x {size[1]}, {num_steps} steps; {output.stat().st_size / 2**20:.1f} MiB; "
        f"{_script('load_onnx', output)}; {holds}"
    )


def _import_onnx_model() -> Callable[..., Any]:
    try:
        from diffdepth_jax.prediction.onnx_model import onnx_model
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise UserError(
            "ONNX export needs onnx: pip install onnx, or pip install '.[onnx]' in the checkout"
        ) from error
    return onnx_model


def _meaning(config: ModelConfiguration) -> tuple[str, str]:
    """What the function returns, and for which cameras that holds."""
    if config.model.is_relative:
        return "relative inverse depth", "it knows no metres"
    known = assumed(config.frame)
    if not known:
        return "metres", "its configuration states no focal length"
    holds = f"metres hold for a focal length of {known:g} pixels in the images as they are seen"
    return "metres", holds


def _check_output(path: pathlib.Path) -> None:
    """Refuses a file that cannot be written, before minutes are spent on it."""
    if path.is_dir():
        raise UserError(f"output {path} is a folder: give the name of a file")
    if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise UserError(f"output {path}: {path.parent} is no folder that can be written to")


def _write(output: pathlib.Path, exported: jax.export.Exported, arrays: dict[str, Any]) -> None:
    with whole_file(output) as unfinished:
        unfinished.write_bytes(exported.serialize())
    if arrays:
        with whole_file(f"{output}.npz") as unfinished:
            np.savez(unfinished, **arrays)


def _description(
    output: pathlib.Path,
    exported: jax.export.Exported,
    result: str,
    num_steps: int,
    size: Size | None,
) -> str:
    *parameters, images, _ = exported.in_avals
    first = f"parameters of {output}.npz, " if parameters else ""
    seen = (
        f"of sides up to {LONGEST}, seen at {size[0]} x {size[1]}" if size else "at their own size"
    )
    return (
        f"{output}: ({first}images uint8 [{', '.join(map(str, images.shape))}], seed uint32 []) -> "
        f"{result} float32; images {seen}, {num_steps} steps; {', '.join(exported.platforms)}; "
        f"{output.stat().st_size / 2**20:.1f} MiB; "
        f"{_script('load_exported', output, *[f'{output}.npz'] * bool(parameters))}"
    )


def _script(name: str, model: pathlib.Path, *beside: str) -> str:
    """Says how to run a file with one of the scripts in docs, which are in a checkout alone."""
    words = ["python", f"docs/{name}.py", str(model), "image.npy", "depth.npy", *beside]
    return f"in a checkout, `{shlex.join(words)}` runs it on an image of uint8 [height, width, 3]"
