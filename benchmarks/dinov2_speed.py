"""Times prediction of DINOv2's ViT-S/14 beside transformers on PyTorch, in float32 on the CPU.

python -m benchmarks.dinov2_speed [--rounds=5] [--cores=2] [--output=FILE.json]

It needs `pip install torch==2.13.0 transformers==5.24.0` and, for torch.compile, a C++ compiler.
Both sides have the same random weights and image. Ours takes turns with each form of PyTorch
(eager attention, SDPA, SDPA compiled) in one run. Each is a process of its own on the same cores,
and only one computes at a time. A ratio is our median over that of the form, in the same turns; the
fastest form counts. The last normed states of both sides are compared. With --cores=1 the times are
those of the processor, which hardly depend on the machine's other work.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import safetensors.numpy

from diffdepth_jax.program.environment import describe_environment

SIZES = ((518, 518), (252, 336))
FORMS = ("eager", "sdpa", "compiled")
CALLS = 3  # of a turn
FEATURES, DEPTH, HEADS, TOKENS = 384, 12, 6, 1 + 37**2
Facts = dict[str, Any]


def random_tensors() -> dict[str, np.ndarray]:
    """Weights under the names of transformers' files, the same in every process."""
    rng = np.random.default_rng(0)
    shapes = {
        "embeddings.cls_token": (1, 1, FEATURES),
        "embeddings.mask_token": (1, FEATURES),
        "embeddings.position_embeddings": (1, TOKENS, FEATURES),
        "embeddings.patch_embeddings.projection.weight": (FEATURES, 3, 14, 14),
        "embeddings.patch_embeddings.projection.bias": (FEATURES,),
        "layernorm.weight": (FEATURES,),
        "layernorm.bias": (FEATURES,),
    }
    for block in range(DEPTH):
        shapes |= {f"encoder.layer.{block}.{name}": shape for name, shape in _block_shapes()}
    return {k: (rng.normal(size=s) * max(s[-1], 2) ** -0.5).astype("f4") for k, s in shapes.items()}


def _block_shapes() -> list[tuple[str, tuple[int, ...]]]:
    layers = {f"attention.attention.{part}": (FEATURES,) * 2 for part in ("query", "key", "value")}
    layers |= {
        "attention.output.dense": (FEATURES, FEATURES),
        "mlp.fc1": (4 * FEATURES, FEATURES),
        "mlp.fc2": (FEATURES, 4 * FEATURES),
        "norm1": (FEATURES,),
        "norm2": (FEATURES,),
    }
    weights = [(f"{name}.weight", shape) for name, shape in layers.items()]
    biases = [(f"{name}.bias", shape[:1]) for name, shape in layers.items()]
    scales = [(f"layer_scale{number}.lambda1", (FEATURES,)) for number in (1, 2)]
    return [*weights, *biases, *scales]


def random_image(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(1, *size, 3)).astype(np.float32)


# The sides: each returns a function that computes the normed states of all patches


def ours(size: tuple[int, int]) -> Callable[[], np.ndarray]:
    import jax

    from diffdepth_jax.models.backbones.dinov2 import VARIANTS, DINOv2
    from diffdepth_jax.models.variables import abstract_backbone
    from diffdepth_jax.torch_import.conversion import convert
    from diffdepth_jax.torch_import.state_dicts import read_state_dict

    module = DINOv2(**VARIANTS["dinov2_small"] | {"layers": (DEPTH,)})
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/a.safetensors"
        safetensors.numpy.save_file(random_tensors(), path)
        variables, _ = convert(*read_state_dict(path), abstract_backbone(module))
    weights = jax.device_put({"params": variables["params"]["backbone"]})
    image, apply = jax.device_put(random_image(size)), jax.jit(module.apply)
    return lambda: np.asarray(apply(weights, image)[0]).reshape(-1, FEATURES)


def theirs(form: str, size: tuple[int, int]) -> Callable[[], np.ndarray]:
    import torch
    from transformers import Dinov2Config, Dinov2Model

    fields = {"hidden_size": FEATURES, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
    config = Dinov2Config(image_size=518, **fields)
    config._attn_implementation = "eager" if form == "eager" else "sdpa"
    tensors = {_in_memory(k): torch.from_numpy(x) for k, x in random_tensors().items()}
    model = Dinov2Model(config).eval()
    model.load_state_dict(tensors)
    call = torch.compile(model) if form == "compiled" else model
    image = torch.from_numpy(np.ascontiguousarray(random_image(size).transpose(0, 3, 1, 2)))

    def run():
        with torch.inference_mode():
            return call(image).last_hidden_state[0, 1:].numpy()

    return run


def _in_memory(name: str) -> str:
    """The name in a model of transformers 5 for one of its files."""
    for part in ("query", "key", "value"):
        name = name.replace(f"attention.attention.{part}", f"attention.{part[0]}_proj")
    return name.replace("attention.output.dense", "attention.o_proj")


# Processes


def work(side: str, size: tuple[int, int]) -> None:
    """Answers each line of the input with the seconds of some calls, the first with a probe."""
    run = ours(size) if side == "ours" else theirs(side, size)
    probe = run()
    run()
    print(json.dumps(probe[::97, ::31].tolist()), flush=True)
    clock = time.process_time if len(os.sched_getaffinity(0)) == 1 else time.perf_counter
    for _ in sys.stdin:
        seconds = []
        for _ in range(CALLS):
            start = clock()
            run()
            seconds.append(clock() - start)
        print(json.dumps(seconds), flush=True)


class Worker:
    """A process of one side; `turn()` returns the seconds of some calls."""

    def __init__(self, side: str, size: tuple[int, int], cores: int) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(cores)}
        arguments = ["taskset", "-c", ",".join(map(str, range(cores))), sys.executable, "-m"]
        arguments += ["benchmarks.dinov2_speed", "--worker", side, "--size", *map(str, size)]
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.probe = np.array(self._answer())

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a process ended with status {self._process.wait()}")
        return json.loads(line)

    def turn(self) -> list[float]:
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def measure(size: tuple[int, int], rounds: int, cores: int) -> Facts:
    """Returns {form: milliseconds of both sides, their ratio, their difference}."""
    own, facts = Worker("ours", size, cores), {}
    for form in FORMS:
        other, seconds = Worker(form, size, cores), ([], [])
        for round_ in range(rounds):
            for index in (0, 1) if round_ % 2 else (1, 0):
                seconds[index].extend((own, other)[index].turn())
        other.close()
        medians = [statistics.median(x) for x in seconds]
        difference = np.abs(own.probe - other.probe).max() / np.abs(other.probe).max()
        facts[form] = {
            "ours_ms": 1e3 * medians[0],
            "theirs_ms": 1e3 * medians[1],
            "ratio": medians[0] / medians[1],
            "difference": float(difference),
        }
        print(f"{size[0]}x{size[1]} {form:<10}", facts[form], flush=True)
    own.close()
    fastest = min(FORMS, key=lambda form: facts[form]["theirs_ms"])
    return facts | {"fastest": fastest, "ratio": facts[fastest]["ratio"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--worker", choices=("ours", *FORMS), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, tuple(arguments.size))
        return
    environment = describe_environment()
    del environment["command"]
    report = {"environment": environment, "cores": arguments.cores}
    for size in SIZES:
        report[f"{size[0]}x{size[1]}"] = measure(size, arguments.rounds, arguments.cores)
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
