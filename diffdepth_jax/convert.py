"""PyTorch checkpoints to model directories.

python -m diffdepth_jax.convert --checkpoint=FILE --config=configs/NAME.py --output=DIR
"""

import jax
import numpy as np
from absl import flags
from ml_collections import config_flags

from diffdepth_jax.checkpoints.model_directory import save_model
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.program.entry import start
from diffdepth_jax.torch_import.conversion import convert, only_backbone, read_state_dict

# Other programs have flags of these names, and one process may import several.
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "The .pt, .pth or .safetensors file.", allow_override=True
)
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "The configuration of the model that the file holds: configs/NAME.py.",
    allow_override=True,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Model directory to write; must not exist.", allow_override=True
)


class _Uncopied(np.ndarray):
    """Orbax copies numpy arrays before it saves them, lest they change meanwhile: a gigabyte.

    JAX's it does not copy, but it restores them only where there is a device of the same name.
    """

    def __deepcopy__(self, memo):
        return self


def convert_file(path, config, output):
    """Writes the model directory `output`, of a backbone alone if the file holds no more.

    Returns messages on what was not simply copied.
    """
    tensors, kind = read_state_dict(path)
    abstract = abstract_variables(create_model(**config.model))
    if kind.backbone_only:
        abstract = only_backbone(abstract)
    variables, messages = convert(tensors, kind, abstract)
    save_model(output, config, jax.tree.map(lambda leaf: leaf.view(_Uncopied), variables))
    return [f"{path}: {kind.name}, {len(tensors)} tensors", *messages]


def run():
    for message in convert_file(_CHECKPOINT.value, _CONFIG.value.lock(), _OUTPUT.value):
        print(message)
    print(f"written to {_OUTPUT.value}")


def main():
    start(run, required=["checkpoint", "config", "output"])


if __name__ == "__main__":
    main()
