"""Measures the compiled training step's memory, by sampler steps and by rematerialised parts.

python -m benchmarks.training_memory --output=FILE.json [--only=PART_OF_A_ROW'S_NAME]

The training program's step is compiled for a batch of one image and never run, so that nothing is
allocated. Temporary memory is the peak in XLA's buffer assignment, for the backend that compiles
(JAX_PLATFORMS=cpu chooses the CPU); the file names the backend. On CPU a flag asks XLA for the
order of operations that saves memory; by default XLA keeps more threads busy, which needs more
memory. Another flag skips LLVM's passes, which changes nothing but the compile time. The arguments
are the state (parameters and optimizer) and the batch; the new state reuses the old state's memory.

Multiply-adds count the step's matrix products and convolutions, forward and backward; a loop's body
and recomputed operations count as often as they run.

Each row is written as soon as it is measured; rows in the file are not measured again.
"""

import argparse
import json
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.flops import count_multiply_adds
from diffdepth_jax.configs import default
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.distributed import sharding
from diffdepth_jax.method import diffusion
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.training import configured
from diffdepth_jax.training.state import create_train_state

SIZES = {"swin_tiny": (228, 304), "swin_large": (352, 906)}
NUM_STEPS = (5, 20)
# name: (sampler.remat, train.remat_backbone)
REMATERIALISED = {"nothing": (False, False), "sampler": (True, False), "all": (True, True)}
GIB = 2**30
Rows = dict[str, dict[str, dict[str, float]]]  # {name: {num_steps as text: measurement}}
# XLA reads the scheduler's option only from the process's flags, not from a compilation's options.
XLA_FLAGS = (
    "--xla_cpu_enable_concurrency_optimized_scheduler=false --xla_backend_optimization_level=0"
)


def row_fields() -> dict[str, tuple[str, str, str]]:
    """Returns {name of a row: (backbone, dtype, rematerialised parts)}."""
    rows = [(backbone, "float32", remat) for backbone in SIZES for remat in REMATERIALISED]
    return {", ".join(row): row for row in [*rows, ("swin_large", "bfloat16", "all")]}


def create_config(backbone: str, dtype: str, remat: str, num_steps: int) -> Configuration:
    """Returns the default configuration with these fields."""
    config = default.get_config()
    config.model.update(backbone=backbone, dtype=dtype)
    config.frame.size = SIZES[backbone]
    config.sampler.num_steps = num_steps
    config.sampler.remat, config.train.remat_backbone = REMATERIALISED[remat]
    return groups.read(config)


def abstract_step(config: Configuration, batch_size: int = 1) -> tuple[Any, tuple]:
    """Returns (jitted training step, its arguments as shapes and types)."""
    model = create_model(config.model)
    schedule = diffusion.create_schedule(**vars(config.diffusion))
    _, optimizer = configured.configured_optimizer(config)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(lambda key: create_train_state(model, optimizer, key, 0.0), key)
    layout = sharding.Layout("jit", sharding.create_mesh(jax.devices()[:1]))
    step = configured.create_step(config, model, schedule, optimizer, layout, state)
    height, width = config.frame.size
    batch = {
        name: jax.ShapeDtypeStruct((batch_size, height, width, channels), dtype)
        for name, channels, dtype in (
            ("image", 3, jnp.float32),
            ("depth", 1, jnp.float32),
            ("mask", 1, jnp.bool),
        )
    }
    return step, (state, batch, key)


def measure(config: Configuration, batch_size: int = 1) -> dict[str, float]:
    """Compiles the step; returns {quantity: value} in bytes and seconds."""
    step, arguments = abstract_step(config, batch_size)
    start = time.perf_counter()
    memory = step.lower(*arguments).compile().memory_analysis()
    return {
        "temporary": memory.temp_size_in_bytes,
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "compile_seconds": time.perf_counter() - start,
        "multiply_adds": count_multiply_adds(step, *arguments),
    }


def read_rows(path: pathlib.Path) -> Rows:
    """Reads {name: {num_steps as text: measurement}} of an earlier run."""
    return json.loads(path.read_text())["rows"] if path.exists() else {}


def write_rows(path: pathlib.Path, rows: Rows) -> None:
    report = {"backend": jax.default_backend(), "jax": jax.__version__, "rows": rows}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(report, indent=1) + "\n")
    partial.replace(path)


def measure_rows(path: pathlib.Path, only: str) -> Rows:
    """Measures the rows that the file lacks; returns all rows."""
    rows = read_rows(path)
    for name, fields in row_fields().items():
        for num_steps in NUM_STEPS:
            if only in name and str(num_steps) not in rows.get(name, {}):
                measured = measure(create_config(*fields, num_steps))
                rows.setdefault(name, {})[str(num_steps)] = measured
                write_rows(path, rows)
    return rows


def format_table(rows: Rows) -> str:
    """Returns a table of the rows that are measured with both numbers of steps."""
    few, many = map(str, NUM_STEPS)
    lines = [
        f"{'backbone, dtype, rematerialised':<34}{f'{few} steps':>11}{f'{many} steps':>11}"
        f"{'ratio':>7}{'arguments':>11}{'multiply-adds':>16}{'compile':>9}"
    ]
    for name, row in rows.items():
        if {few, many} <= set(row):
            memory, last = [row[steps]["temporary"] for steps in (few, many)], row[many]
            lines.append(
                f"{name:<34}"
                + "".join(f"{size / GIB:>7.2f} GiB" for size in memory)
                + f"{memory[1] / memory[0]:>7.2f}{last['arguments'] / GIB:>7.2f} GiB"
                + f"{last['multiply_adds'] / 1e9:>14.1f} G{last['compile_seconds']:>7.0f} s"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="JSON, added to")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    flags = parser.parse_args(arguments)
    print(format_table(measure_rows(flags.output, flags.only)))


if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {XLA_FLAGS}"  # read at first use
    main()
