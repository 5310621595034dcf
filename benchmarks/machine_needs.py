"""Answers what machine a recipe needs: memory of each device, bytes over the network, hours.

python -m benchmarks.machine_needs --output=docs/machine_needs.json

The training step of configs/nyu.py and configs/kitti.py is compiled for one and for two images and
never run; rows in the file are not measured again. What a device then holds is arithmetic, see
`Needs`.
Temporary memory is XLA's for the backend that compiles, as `training_memory` has it.
"""

import argparse
import dataclasses
import os
import pathlib
from collections.abc import Sequence

from benchmarks import training_memory
from diffdepth_jax.configs import kitti, nyu
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.groups import Configuration

RECIPES = {"nyu": nyu, "kitti": kitti}
IMAGES = (1, 2)  # in the compiled steps
GIB = 2**30
USABLE = 0.9  # of a device's memory; the rest is the runtime's and lost between blocks
UTILISATION = 0.3  # of the peak; assumed, not measured
# name: (devices, GiB of each, peak of each in 1e12 bfloat16 operations a second), as the vendors
# publish them.
MACHINES = {
    "one GPU of 24 GB (RTX 4090)": (1, 24, 165),
    "one GPU of 80 GB (A100)": (1, 80, 312),
    "eight GPUs of 80 GB (A100)": (8, 80, 312),
    "eight GPUs of 80 GB (H100)": (8, 80, 989),
    "TPU v4-16 (8 chips of 32 GB)": (8, 32, 275),
    "TPU v5e-8 (8 chips of 16 GB)": (8, 16, 197),
}
Rows = dict[str, dict[str, dict[str, float]]]  # {recipe: {images as text: measurement}}


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a training step needs; bytes, and operations of one image.

    Attributes:
      parameters: of the model, float32.
      fixed: temporary memory whatever the number of images; the gradients are in it.
      image: temporary memory that one more image adds.
      operations: multiplications and additions of one image, forward and backward.
    """

    parameters: float
    fixed: float
    image: float
    operations: float

    @classmethod
    def from_rows(cls, rows: dict[str, dict[str, float]]) -> "Needs":
        one, two = (rows[str(images)] for images in IMAGES)
        image = two["temporary"] - one["temporary"]
        # The state is parameters and two moments; the batch is small beside them.
        parameters = one["outputs"] / 3
        return cls(parameters, one["temporary"] - image, image, 2 * one["multiply_adds"])

    def device_bytes(self, images: int, devices: int, parallel: str) -> float:
        """What one device holds with `images` at once; `fsdp` gathers the parameters for use."""
        state = 3 * self.parameters
        if parallel == "fsdp":
            state = state / devices + self.parameters
        return state + self.fixed + images * self.image

    def network_bytes(self, devices: int) -> float:
        """What a device sends in a step, under data parallel and FSDP alike.

        A ring sends 2 (n - 1) / n of the gradients to sum them. FSDP sends (n - 1) / n to gather
        the parameters once, and as much to sum each part of the gradients where it lies.
        """
        return 2 * (devices - 1) / devices * self.parameters

    def fitting_images(self, devices: int, memory: float, parallel: str) -> int:
        """The most images that a device of so many bytes computes at once."""
        free = USABLE * memory - self.device_bytes(0, devices, parallel)
        return max(int(free // self.image), 0)


def create_config(recipe: str) -> Configuration:
    """The recipe, at the size of its crops."""
    config = RECIPES[recipe].get_config()
    config.frame.size = config.augmentation.crop_size
    config.model.backbone_weights = ""  # of the same shapes
    return groups.read(config)


def measure_rows(path: pathlib.Path) -> Rows:
    """Measures the rows that the file lacks; returns all rows."""
    rows = training_memory.read_rows(path)
    for recipe in RECIPES:
        for images in IMAGES:
            if str(images) not in rows.get(recipe, {}):
                measured = training_memory.measure(create_config(recipe), images)
                measured["multiply_adds"] /= images
                rows.setdefault(recipe, {})[str(images)] = measured
                training_memory.write_rows(path, rows)
    return rows


def format_recipe(recipe: str, needs: Needs, batch_size: int, num_steps: int) -> str:
    """A Markdown table: a line for each machine."""
    lines = [
        f"| {recipe} | state on each device | one image | images at once | "
        f"micro-batches of {batch_size} | sent in a step | hours |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for machine, (devices, gib, peak) in MACHINES.items():
        at_once = needs.fitting_images(devices, gib * GIB, "jit")
        own = -(-batch_size // devices)
        operations = needs.operations * batch_size * num_steps
        hours = operations / (devices * peak * 1e12 * UTILISATION) / 3600
        split = f" ({needs.device_bytes(0, devices, 'fsdp') / GIB:.1f})" if devices > 1 else ""
        lines.append(
            f"| {machine} | {needs.device_bytes(0, devices, 'jit') / GIB:.1f} GiB{split}"
            f" | {needs.image / GIB:.2f} GiB | {at_once}"
            f" | {-(-own // at_once) if at_once else 'does not fit'}"
            f" | {needs.network_bytes(devices) / GIB:.2f} GiB | {hours:.1f} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="JSON, added to")
    rows = measure_rows(parser.parse_args(arguments).output)
    for recipe, module in RECIPES.items():
        train = module.get_config().train
        needs = Needs.from_rows(rows[recipe])
        print(format_recipe(recipe, needs, train.batch_size, train.num_steps), end="\n\n")


if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {training_memory.XLA_FLAGS}"
    main()
