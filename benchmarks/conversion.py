"""Measures time and memory of converting a checkpoint of the released model with Swin-L.

python -m benchmarks.conversion [DIR]

It writes a file of 1 GB, with the released checkpoint's names and random values, into DIR (default:
the system's temporary directory), converts it with the real command, and deletes both.
"""

import gzip
import json
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
NAMES = ROOT / "tests" / "golden" / "state_dict_keys_swinl_hahi.txt.gz"
ALIGNMENT = 8  # of the header, in safetensors


def read_names() -> Iterator[tuple[str, list[int]]]:
    """Yields (name, shape) of every floating-point tensor; the others have no influence."""
    for line in gzip.decompress(NAMES.read_bytes()).decode().splitlines():
        if not line.startswith("#"):
            name, shape, dtype, _ = line.split("\t")
            if dtype == "float32":
                yield name, [int(size) for size in re.findall(r"\d+", shape)]


def write_checkpoint(path: pathlib.Path) -> None:
    """Writes a safetensors file tensor by tensor, so that this process needs little memory."""
    tensors, header, end = list(read_names()), {}, 0
    for name, shape in tensors:
        start, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape in tensors:
            file.write(rng.random(int(np.prod(shape)), np.float32).tobytes())


def convert(path: pathlib.Path, output: pathlib.Path) -> tuple[float, int]:
    """Runs the command; returns (seconds, peak resident bytes)."""
    start = time.perf_counter()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "diffdepth_jax.convert",
            f"--checkpoint={path}",
            "--config=configs/released_swin.py",
            f"--output={output}",
        ],
        cwd=ROOT,
        check=True,
    )
    seconds = time.perf_counter() - start
    return seconds, 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def main(parent: str | None = None) -> None:
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        path = pathlib.Path(directory) / "swin_large.safetensors"
        write_checkpoint(path)
        size = path.stat().st_size
        seconds, memory = convert(path, pathlib.Path(directory) / "converted")
    print(f"{'file':>10}{'seconds':>10}{'peak memory':>14}{'memory / file':>16}")
    print(f"{size / 1e9:>7.2f} GB{seconds:>10.1f}{memory / 1e9:>11.2f} GB{memory / size:>16.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
