"""Converts a PyTorch checkpoint to a model directory.

diffdepth convert --checkpoint=swin.pt --config=released_swin --output=models/released_swin

The file holds a whole model or a backbone alone; PyTorch is not needed. docs/porting_weights.md
lists the files that are understood, and the configuration of each.
"""

import dataclasses
import os
from typing import TYPE_CHECKING

from diffdepth_jax.program.config_flag import define_config
from diffdepth_jax.program.entry import start
from diffdepth_jax.program.help_page import Page
from diffdepth_jax.program.interruption import telling
from diffdepth_jax.program.path_flags import define_path

if TYPE_CHECKING:  # JAX takes seconds to import; --help and wrong flags need not wait for it
    from diffdepth_jax.arrays import Variables
    from diffdepth_jax.configuration.groups import Configuration
    from diffdepth_jax.torch_import.kinds import Kind

# `allow_override`: other programs have flags of these names, and one process may import several.
_CHECKPOINT = define_path("checkpoint", "The .pt, .pth or .safetensors file.", allow_override=True)
_CONFIG = define_config(
    "The configuration of the model that the file holds, such as released_swin.",
    allow_override=True,
)
_OUTPUT = define_path(
    "output", "Model directory to write. It must not exist, or be empty.", allow_override=True
)
_PAGE = Page(__doc__, {"Flags, all required": ("checkpoint", "config", "output")})


def convert_file(
    path: str | os.PathLike[str], config: "Configuration", output: str | os.PathLike[str]
) -> list[str]:
    """Writes the model directory `output` from a checkpoint file.

    A file that holds only a backbone gives a model directory with only a backbone.

    Returns:
      Messages: the kind of the file, and each tensor that was not simply copied.

    Raises:
      UserError: the file is no checkpoint, does not fit the configuration, or `output` exists.
    """
    from diffdepth_jax.checkpoints.model_directory import check_absent, save_model
    from diffdepth_jax.evaluation.model_card import licence_section, model_card, write_card
    from diffdepth_jax.torch_import.conversion import convert
    from diffdepth_jax.torch_import.hugging_face_config import check_hugging_face_config
    from diffdepth_jax.torch_import.licences import licence_of
    from diffdepth_jax.torch_import.state_dicts import read_state_dict

    check_absent(output)  # before minutes of reading
    tensors, kind = read_state_dict(path)
    check_hugging_face_config(path, config.model)
    config, field_messages = with_fields_of_code(config, kind)
    variables, messages = convert(tensors, kind, _abstract(config, kind))
    save_model(output, config, variables)
    origin = f"Converted from `{os.path.basename(path)}` ({kind.name})."
    licence = licence_of(kind, config.model.backbone)
    section = "" if licence is None else licence_section(*licence)
    write_card(output, model_card(config, origin, licence=section, is_trained=False))
    told = [] if licence is None else [f"licence of the weights: {licence.text}"]
    return [f"{path}: {kind.name}, {len(tensors)} tensors", *field_messages, *messages, *told]


def _abstract(config: "Configuration", kind: "Kind") -> "Variables":
    """The leaves and shapes that such a file has to fill."""
    from diffdepth_jax.models.assembly import create_model
    from diffdepth_jax.models.backbone_choice import create_backbone
    from diffdepth_jax.models.variables import abstract_backbone, abstract_variables

    if kind.backbone_only:
        return abstract_backbone(create_backbone(config.model))
    return abstract_variables(create_model(config.model))


def with_fields_of_code(config: "Configuration", kind: "Kind") -> tuple["Configuration", list[str]]:
    """Returns the configuration as the code of the file computes, and messages about new values."""
    messages = []
    for name in ("window_shift", "position_interpolation"):
        value, before = getattr(kind, name), getattr(config.model, name)
        if value not in (None, before):
            model = dataclasses.replace(config.model, **{name: value})
            config = dataclasses.replace(config, model=model)
            messages.append(
                f"model.{name} becomes {value} instead of {before}: the file's code does so"
            )
    return config, messages


def run() -> None:
    from diffdepth_jax.configuration import groups

    # `start` requires all flags: they have values.
    path, output = _CHECKPOINT.value or "", _OUTPUT.value or ""
    with telling(lambda: f"{output} was not written"):
        messages = convert_file(path, groups.read(_CONFIG.value), output)
    print(*messages, sep="\n")
    print(f"written to {output}")


def main() -> None:
    start(run, required=["checkpoint", "config", "output"], page=_PAGE)


if __name__ == "__main__":
    main()
