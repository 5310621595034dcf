"""PyTorch's side of the speed benchmark, see `speed_worker`; it never imports JAX."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import speed_rows, torch_peer

PRODUCT = {False: (2048, torch.float32, 3), True: (8192, torch.bfloat16, 50)}


def on_accelerator() -> bool:
    return torch.cuda.is_available()


def _device():
    return torch.device("cuda" if on_accelerator() else "cpu")


def _wait():
    if on_accelerator():
        torch.cuda.synchronize()


@torch.no_grad()
def product() -> float:
    """Floating-point operations per second of a large matrix product."""
    size, dtype, repeats = PRODUCT[on_accelerator()]
    x = torch.ones((size, size), dtype=dtype, device=_device())
    x @ x
    _wait()
    start = time.perf_counter()
    for _ in range(repeats):
        x @ x
    _wait()
    return 2 * size**3 * repeats / (time.perf_counter() - start)


class Side:
    """A form of the peer for a row; compiled forms compile in the first call."""

    def __init__(
        self,
        fields: dict[str, Any],
        form: str,
        batch_size: int,
        size: Sequence[int],
        latent_shape: Sequence[int],
        task: str,
    ) -> None:
        self._form = torch_peer.FORMS[form]
        if self._form.improved:
            torch.set_float32_matmul_precision("high")  # TF32, which XLA uses too; no effect on CPU
            torch.backends.cudnn.benchmark = True
        self._peer = torch_peer.Peer(fields, self._form)
        values = {
            path: speed_rows.leaf_values(path, tensor.numel())
            for path, tensor, _ in torch_peer.leaves(self._peer)
        }
        torch_peer.load(self._peer, values)
        self._peer.to(_device()).train(task == "train")
        self._task, self._latent = task, (latent_shape[2], *latent_shape[:2])
        inputs = speed_rows.create_inputs(batch_size, tuple(size), latent_shape)
        self._inputs = {name: self._place(array) for name, array in inputs.items()}
        if task == "train":
            self._optimizer = torch_peer.create_optimizer(self._peer)
        self._depth = None
        _wait()

    def _place(self, array):
        tensor = torch.tensor(np.moveaxis(array, -1, 1).copy(), device=_device())
        return self._form.layout(tensor)

    def call(self) -> None:
        if self._task == "predict":
            self._depth = self._peer.predict(self._inputs["image"], self._inputs["noise"])
        else:
            size = len(self._inputs["image"])
            draws = torch_peer.draw(self._peer, size, self._latent, _device())
            torch_peer.train_step(self._peer, self._optimizer, self._inputs, draws)
        _wait()

    def reset_memory(self) -> None:
        if on_accelerator():
            torch.cuda.reset_peak_memory_stats()

    def device_memory(self) -> int | None:
        return torch.cuda.max_memory_allocated() if on_accelerator() else None

    def facts(self) -> dict[str, Any]:
        facts = {"torch": torch.__version__, "on_accelerator": on_accelerator()}
        if self._task == "predict":
            facts["probe"] = speed_rows.probe(self._depth[:, 0].cpu().numpy())
        return facts

    def late_facts(self) -> dict[str, Any]:
        return {}
