"""Our side of the speed benchmark, see `speed_worker`."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import speed_rows
from benchmarks.flops import count_multiply_adds
from diffdepth_jax.arrays import Variables
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.distributed import sharding
from diffdepth_jax.errors import UserError
from diffdepth_jax.method import diffusion, refinement
from diffdepth_jax.models.assembly import DiffusionDepth, create_model
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.program import compiler_options
from diffdepth_jax.program.environment import describe_environment
from diffdepth_jax.training import configured
from diffdepth_jax.training.state import create_train_state

PRODUCT = {False: (2048, jnp.float32, 3), True: (8192, jnp.bfloat16, 50)}  # size, dtype, repeats


def on_accelerator() -> bool:
    return jax.default_backend() != "cpu"


def product() -> float:
    """Floating-point operations per second of a large matrix product."""
    size, dtype, repeats = PRODUCT[on_accelerator()]
    x = jnp.ones((size, size), dtype)
    multiply = jax.jit(jnp.matmul)
    multiply(x, x).block_until_ready()
    start = time.perf_counter()
    result = x
    for _ in range(repeats):
        result = multiply(result, x)
    result.block_until_ready()
    return 2 * size**3 * repeats / (time.perf_counter() - start)


def create_variables(model: DiffusionDepth) -> Variables:
    """Creates variables with the same values in every process."""

    def create(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return jnp.asarray(speed_rows.leaf_values(name, leaf.size).reshape(leaf.shape))

    return jax.tree_util.tree_map_with_path(create, abstract_variables(model))


def create_program(
    config: Configuration, task: str, num_devices: int = 1
) -> tuple[DiffusionDepth, Any, Callable]:
    """Creates a task's program on the first devices.

    Returns:
      (model, program, function from variables and inputs to the program's arguments).
    """
    model = create_model(config.model)
    schedule = diffusion.create_schedule(**vars(config.diffusion))
    if task == "predict":
        predict = functools.partial(
            refinement.predict_depth, model, schedule=schedule, **vars(config.sampler)
        )
        return model, jax.jit(predict), _prediction_arguments
    _, optimizer = configured.configured_optimizer(config)
    create = functools.partial(
        create_train_state, model, optimizer, ema_decay=config.train.ema_decay
    )
    abstract = jax.eval_shape(create, jax.random.key(0))
    layout = sharding.Layout(config.train.parallel, sharding.create_mesh(_first(num_devices)))
    step = configured.create_step(config, model, schedule, optimizer, layout, abstract)

    def place(variables, inputs):
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
        batch = {name: inputs[name] for name in ("image", "depth", "mask")}
        key = jax.device_put(jax.random.key(0), sharding.replicated(layout.mesh))
        return layout.place(zeros.started_from(variables)), layout.shard_batch(batch), key

    return model, step, place


def _prediction_arguments(variables, inputs):
    return variables, *jax.device_put((inputs["image"], inputs["noise"]))


def _first(num_devices):
    devices = jax.devices()[:num_devices]
    if len(devices) < num_devices:
        raise UserError(f"{num_devices} devices: there are {len(devices)}")
    return devices


class Side:
    """The program of a row, compiled by the first call.

    Args:
      row: the fields of a Row.
      changes: {"group.field": value}, changes of the row's configuration.
      num_devices: the number of devices that share a training step, as `train.parallel` says.
    """

    def __init__(
        self, row: Mapping[str, Any], changes: dict[str, Any] | None = None, num_devices: int = 1
    ) -> None:
        self._row = speed_rows.Row(**{**row, "size": tuple(row["size"])})
        self._dtype = "bfloat16" if on_accelerator() else "float32"
        self._changes, self._num_devices = changes or {}, num_devices
        model, self._program, place = self._create_program()
        latent_shape = model.latent_shape(*self._row.size)
        inputs = speed_rows.create_inputs(self._row.batch_size, self._row.size, latent_shape)
        self._first, *self._rest = place(create_variables(model), inputs)
        jax.block_until_ready((self._first, self._rest))
        self._compiled = self._result = None

    def _create_program(
        self, further_changes: dict[str, Any] | None = None
    ) -> tuple[DiffusionDepth, Any, Callable]:
        changes = self._changes | (further_changes or {})
        config = speed_rows.create_config(self._row, self._dtype, changes)
        return create_program(config, self._row.task, self._num_devices)

    def call(self) -> None:
        if self._compiled is None:
            lowered = self._program.lower(self._first, *self._rest)
            is_prediction = self._row.task == "predict"
            options = compiler_options.of_predictions() if is_prediction else None
            self._compiled = lowered.compile(compiler_options=options)
        self._result = self._compiled(self._first, *self._rest)
        if self._row.task == "train":
            self._first, self._result = self._result  # the state was donated
        jax.block_until_ready(self._result)

    def reset_memory(self) -> None:
        """Does nothing: `device_memory` keeps no high-water mark."""

    def device_memory(self) -> int | None:
        """Returns the bytes that the program needs on a GPU; None on CPU.

        The allocator's peak would include trials during compilation.
        """
        if not on_accelerator():
            return None
        memory = self._compiled.memory_analysis()
        both = memory.argument_size_in_bytes + memory.output_size_in_bytes
        return both - memory.alias_size_in_bytes + memory.temp_size_in_bytes

    def facts(self) -> dict[str, Any]:
        memory = self._compiled.memory_analysis()
        environment = describe_environment()
        del environment["command"]  # the worker's command says nothing
        facts = {
            "dtype": self._dtype,
            "on_accelerator": on_accelerator(),
            "environment": environment,
            "xla_bytes": {
                "temporary": memory.temp_size_in_bytes,
                "arguments": memory.argument_size_in_bytes,
                "outputs": memory.output_size_in_bytes,
            },
        }
        if self._row.task == "predict":
            facts["probe"] = speed_rows.probe(np.asarray(self._result)[..., 0])
        return facts

    def late_facts(self) -> dict[str, Any]:
        """Counts the program's multiply-adds on this backend, without rematerialisation."""
        without = {"sampler.remat": False, "train.remat_backbone": False}
        _, program, _ = self._create_program(without)
        arguments = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (self._first, *self._rest)
        )
        count = count_multiply_adds(program, *arguments, platform=jax.devices()[0].platform)
        return {"multiply_adds": count}
