"""The devices in words; the drivers of a GPU are stood in for by a file."""

import importlib.util
import types

import jax
import pytest

from diffdepth_jax.program import devices


@pytest.fixture
def machine(monkeypatch):
    """Sets what the machine seems to have."""

    def has(gpu, plugin=False, platforms=None):
        monkeypatch.setattr(devices, "_NVIDIA", (__file__,) if gpu else ("/nowhere/nvidia",))
        monkeypatch.setattr(devices.shutil, "which", lambda _: None)
        found = object() if plugin else None
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: found)
        jax.config.update("jax_platforms", platforms)

    before = jax.config.jax_platforms
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    yield has
    jax.config.update("jax_platforms", before)


def test_a_cpu_is_a_cpu(machine):
    machine(gpu=False)
    assert devices.describe_devices().startswith("CPU, ")
    assert "GPU" not in devices.describe_devices()


def test_a_gpu_without_the_extra_is_told_with_the_command(machine):
    machine(gpu=True)
    assert devices.describe_devices().endswith(
        '. There is an NVIDIA GPU, but the extra "cuda" is not installed: pip install "jax[cuda13]"'
    )


def test_a_gpu_that_jax_cannot_use_is_told(machine):
    machine(gpu=True, plugin=True)
    assert "There is an NVIDIA GPU, but JAX cannot use it" in devices.describe_devices()


def test_who_asks_for_the_cpu_is_told_nothing(machine):
    machine(gpu=True, platforms="cpu")
    assert "GPU" not in devices.describe_devices()


def test_gpus_are_counted_by_kind(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    kinds = [types.SimpleNamespace(device_kind=kind) for kind in ("H200", "H200", "A100")]
    monkeypatch.setattr(jax, "devices", lambda: kinds)
    assert devices.describe_devices() == "2 x H200, 1 x A100"
