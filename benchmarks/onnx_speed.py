"""Time of a prediction by ONNX Runtime beside JAX, of indoor_small, on this CPU.

python -m benchmarks.onnx_speed [--repeats=15] [--cores=2] [--output=FILE.json]

Both compute the same function, from one uint8 image to metres, and take turns in one process, so
that what else the machine does meets both. Wall time grows with the other work of the machine; CPU
time, the sum over the threads of this process, hardly does. It needs pip install '.[onnx]'
onnxruntime, and Linux, where a process can be bound to cores.
"""

import argparse
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable

import numpy as np
import onnxruntime

from diffdepth_jax.program.environment import describe_environment

MODEL = "indoor_small"
Calls = dict[str, Callable[[np.ndarray], np.ndarray]]  # {side: image uint8 [1, H, W, 3] -> metres}
Times = dict[str, list[tuple[float, float]]]  # {side: (wall, CPU) seconds of each call}


def sides(cores: int) -> tuple[Calls, np.ndarray]:
    """Returns the two functions, and an image of the model's size."""
    import jax  # it counts the cores when it starts

    from diffdepth_jax.checkpoints.model_names import find_model
    from diffdepth_jax.prediction import stablehlo
    from diffdepth_jax.prediction.loading import load_model
    from diffdepth_jax.prediction.onnx_model import onnx_model

    model, schedule, variables, config = load_model(find_model(MODEL), "float32")
    arguments = (vars(config.sampler), config.frame.size)
    function = jax.jit(stablehlo.depth_function(model, schedule, *arguments))
    file = onnx_model(model, schedule, variables, *arguments).SerializeToString()
    session = onnxruntime.InferenceSession(file, _options(cores), ["CPUExecutionProvider"])
    image = np.random.default_rng(0).integers(0, 256, (1, *config.frame.size, 3), np.uint8)
    variables = jax.device_put(variables)
    calls = {
        "jax": lambda image: np.asarray(function(variables, image, np.uint32(0))),
        "onnx": lambda image: session.run(None, {"images": image})[0],
    }
    return calls, image


def _options(cores: int) -> onnxruntime.SessionOptions:
    """Its waiting threads would otherwise take time from the next call of JAX."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


def in_turns(calls: Calls, image: np.ndarray, repeats: int) -> Times:
    """Times each side, which has computed before; every second round begins with the other."""
    times: Times = {side: [] for side in calls}
    for number in range(repeats):
        for side in sorted(calls, reverse=number % 2 == 1):
            times[side].append(timed(lambda side=side: calls[side](image)))
    return times


def row(times: Times) -> dict[str, float]:
    """Medians in milliseconds, and ONNX Runtime's over JAX's."""
    medians = {}
    for index, clock in enumerate(("wall", "cpu")):
        for side, values in times.items():
            medians[f"{side}_{clock}_ms"] = 1e3 * statistics.median(v[index] for v in values)
        medians[f"{clock}_ratio"] = medians[f"onnx_{clock}_ms"] / medians[f"jax_{clock}_ms"]
    return medians


def measure(repeats: int, cores: int) -> dict[str, object]:
    """The row, its conditions, and the greatest relative difference of the two depths."""
    calls, image = sides(cores)
    first = {side: call(image) for side, call in calls.items()}
    difference = np.abs(first["onnx"] / first["jax"] - 1).max()
    load = os.getloadavg()[0]
    facts = {"model": MODEL, "batch": 1, "size": image.shape[1:3], "repeats": repeats}
    facts |= {"cores": cores, "load_before": load, "greatest_relative_difference": difference}
    return {**facts, **row(in_turns(calls, image, repeats))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    facts = measure(options.repeats, options.cores)
    environment = describe_environment()
    del environment["command"]
    environment["onnxruntime"] = onnxruntime.__version__
    text = json.dumps({"environment": environment, **facts}, indent=1, default=float)
    print(text)
    if options.output:
        options.output.write_text(f"{text}\n")


if __name__ == "__main__":
    main()
