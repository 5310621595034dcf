"""Times Depth Anything V2 beside transformers on PyTorch, in float32: prediction, a step, memory.

python -m benchmarks.foundation_speed [--variant=small_indoor] [--size 518 518] [--rounds=5] \
    [--cores=2] [--device=cpu] [--output=FILE.json]

It needs `pip install torch==2.13.0 transformers==5.24.0` and, for torch.compile, a C++ compiler.
Both sides have the same random weights, image and target. Ours takes turns with each form of
PyTorch (eager attention, SDPA, SDPA compiled). Each is a process of its own, on the same cores, and
only one computes at a time. A ratio is our median over that of the form in the same turns; the
fastest form counts. A training step is one of AdamW on the mean squared error of depth. Memory is
the peak of the resident set of a process that does nothing else, with what its libraries take; on
--device=cuda, which wants jax[cuda13] and PyTorch for CUDA, it is that of the device.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from diffdepth_jax.program.environment import describe_environment
from diffdepth_jax.program.heap import give_back_freed_memory, keep_freed_memory

FORMS = ("eager", "sdpa", "compiled")
WORK = ("predict", "train")
RATE = 1e-6
Facts = dict[str, Any]
Arguments = argparse.Namespace


def random_arrays(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image [1, H, W, 3] and a target of depth [1, H, W], the same in every process."""
    rng = np.random.default_rng(1)
    image = rng.normal(size=(1, *size, 3)).astype(np.float32)
    return image, rng.uniform(1, 9, (1, *size)).astype(np.float32)


# The sides: each returns a function that does the work once, and gives what is compared


def ours(arguments: Arguments) -> Callable[[], np.ndarray]:
    import jax
    import jax.numpy as jnp
    import optax

    from diffdepth_jax.configs import depth_anything_v2
    from diffdepth_jax.configuration import groups
    from diffdepth_jax.method.refinement import predict
    from diffdepth_jax.models.assembly import create_model
    from diffdepth_jax.models.variables import abstract_variables
    from diffdepth_jax.torch_import.conversion import convert
    from diffdepth_jax.torch_import.state_dicts import read_state_dict

    model = create_model(groups.read(depth_anything_v2.get_config(arguments.variant)).model)
    file = f"{arguments.directory}/model.safetensors"
    variables, _ = convert(*read_state_dict(file), abstract_variables(model))
    image, target = jax.device_put(random_arrays(tuple(arguments.size)))
    variables = jax.device_put(variables)

    def depth(variables, image):
        noise = jnp.zeros((1, *model.latent_shape(*image.shape[1:3])))
        decoded = predict(model, variables, image, noise, schedule=None, num_steps=1)
        return jnp.exp(decoded.log_depth)[..., 0]

    if arguments.work == "predict":
        run = jax.jit(depth)
        return lambda: np.asarray(run(variables, image))
    optimizer = optax.adamw(RATE)

    def step(state):
        variables, moments = state

        def loss(variables):
            return ((depth(variables, image) - target) ** 2).mean()

        value, gradients = jax.value_and_grad(loss)(variables)
        updates, moments = optimizer.update(gradients, moments, variables)
        return (optax.apply_updates(variables, updates), moments), value

    update, compiled = jax.jit(step, donate_argnums=0), []
    state = variables, optimizer.init(variables)

    def run_step():
        nonlocal state
        if not compiled:
            compiled.append(update.lower(state).compile())
            give_back_freed_memory()  # as training does
        state, value = compiled[0](state)
        return np.asarray(value).reshape(1)

    return run_step


def theirs(form: str, arguments: Arguments) -> Callable[[], np.ndarray]:
    import torch
    from transformers import DepthAnythingForDepthEstimation

    attention = "eager" if form == "eager" else "sdpa"
    model = DepthAnythingForDepthEstimation.from_pretrained(arguments.directory)
    model.backbone.set_attn_implementation(attention)  # the whole model does not take one
    model = model.to(arguments.device)
    image, target = (torch.from_numpy(x) for x in random_arrays(tuple(arguments.size)))
    image = image.permute(0, 3, 1, 2).contiguous().to(arguments.device)
    target = target.to(arguments.device)
    call = torch.compile(model) if form == "compiled" else model
    if arguments.work == "predict":
        model.eval()

        def run():
            with torch.inference_mode():
                return call(image).predicted_depth.cpu().numpy()

        return run
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-4)

    def run_step():
        loss = ((call(image).predicted_depth - target) ** 2).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach().cpu().numpy().reshape(1)

    return run_step


def make(arguments: Arguments) -> None:
    """Writes random weights as transformers does."""
    from benchmarks.foundation_parity import depth_anything

    depth_anything(arguments.variant)[0].save_pretrained(arguments.directory)


# Processes


def peak_bytes(side: str, arguments: Arguments) -> int:
    """The most memory that this process, or its device, had in use."""
    if arguments.device == "cpu":
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if side == "ours":
        import jax

        return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]
    import torch

    return torch.cuda.max_memory_allocated()


def work(side: str, arguments: Arguments) -> None:
    """Answers each line of the input with the seconds of a call, and the memory so far."""
    if side == "ours":
        keep_freed_memory()  # as the programs do
    run = ours(arguments) if side == "ours" else theirs(side, arguments)
    probe = run()
    run()
    print(json.dumps(np.ravel(probe)[::997].tolist()), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        print(json.dumps([seconds, peak_bytes(side, arguments)]), flush=True)


class Worker:
    """A process of one side."""

    def __init__(self, side: str, arguments: Arguments) -> None:
        cores = ",".join(map(str, range(arguments.cores)))
        command = ["taskset", "-c", cores, sys.executable, "-m", "benchmarks.foundation_speed"]
        command += ["--worker", side, "--size", *map(str, arguments.size)]
        for name in ("variant", "directory", "work", "device"):
            command.append(f"--{name}={getattr(arguments, name)}")
        environment = os.environ | {"OMP_NUM_THREADS": str(arguments.cores)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.probe = np.array(self._answer())
        self.bytes = 0

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a process ended with status {self._process.wait()}")
        return json.loads(line)

    def turn(self) -> float:
        """Returns the seconds of one call."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, self.bytes = self._answer()
        return seconds

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def measure(arguments: Arguments) -> Facts:
    """Returns {form: milliseconds and peak memory of both sides, their ratios, the difference}."""
    own, facts = Worker("ours", arguments), {}
    for form in FORMS:
        other, seconds = Worker(form, arguments), ([], [])
        for round_ in range(arguments.rounds):
            for index in (0, 1) if round_ % 2 else (1, 0):
                seconds[index].append((own, other)[index].turn())
        other.close()
        medians = [statistics.median(x) for x in seconds]
        difference = np.abs(own.probe - other.probe).max() / np.abs(other.probe).max()
        facts[form] = {
            "ours_ms": 1e3 * medians[0],
            "theirs_ms": 1e3 * medians[1],
            "ratio": medians[0] / medians[1],
            "ours_mib": own.bytes / 2**20,
            "theirs_mib": other.bytes / 2**20,
            "memory_ratio": own.bytes / other.bytes,
            "difference": float(difference),
        }
        print(arguments.work, form, json.dumps(facts[form]), flush=True)
    own.close()
    fastest = min(FORMS, key=lambda form: facts[form]["theirs_ms"])
    return facts | {"fastest": fastest, "ratio": facts[fastest]["ratio"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--variant", default="small_indoor", help="a metric one")
    parser.add_argument("--size", type=int, nargs=2, default=(518, 518), help="multiples of 14")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--worker", choices=("ours", "make", *FORMS), help=argparse.SUPPRESS)
    parser.add_argument("--work", choices=WORK, default="predict", help=argparse.SUPPRESS)
    parser.add_argument("--directory", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker == "make":
        return make(arguments)
    if arguments.worker:
        return work(arguments.worker, arguments)
    report: Facts = {"environment": describe_environment(), "size": arguments.size}
    del report["environment"]["command"]
    report |= {"variant": arguments.variant, "cores": arguments.cores, "device": arguments.device}
    with tempfile.TemporaryDirectory() as directory:
        arguments.directory = directory
        command = [sys.executable, "-m", "benchmarks.foundation_speed", "--worker=make"]
        chosen = [f"--variant={arguments.variant}", f"--directory={directory}"]
        subprocess.run([*command, *chosen], check=True)
        for arguments.work in WORK:
            report[arguments.work] = measure(arguments)
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
