"""What is made once for all tests: compiled programs, and one finished training run."""

import os

import pytest

from tests.support import compile_flags, type_checks  # noqa: F401  the hook finds it by name

# Before jax.
os.environ["XLA_FLAGS"] = f"{compile_flags.QUICK} {os.environ.get('XLA_FLAGS', '')}".strip()

import jax
from jaxtyping import install_import_hook

# Shapes in annotations are checked at every call, here and not in users' programs.
CHECKED = ("diffdepth_jax.method", "diffdepth_jax.models", "diffdepth_jax.evaluation.metrics")
install_import_hook(CHECKED, "tests.support.type_checks.check")

from diffdepth_jax.training.loop import train  # noqa: E402
from tests.support import small_run  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Equal programs of different tests are compiled once, those of started processes too."""
    directory = str(tmp_path_factory.mktemp("compiled"))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = directory
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """(directory, table) of a finished run of `small_run.config()`; copy it before changing it."""
    workdir = tmp_path_factory.mktemp("runs") / "small"
    return workdir, train(small_run.config(), workdir)
