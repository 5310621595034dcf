"""What is made once for all tests: compiled programs, and one finished training run."""

import logging
import os

import pytest
from absl import logging as absl_logging

from tests.support import compile_flags, type_checks  # noqa: F401  the hook finds it by name

# Before jax.
os.environ["XLA_FLAGS"] = f"{compile_flags.QUICK} {os.environ.get('XLA_FLAGS', '')}".strip()

import jax
from jaxtyping import install_import_hook

# Shapes in annotations are checked at every call, here and not in users' programs.
CHECKED = (
    "diffdepth_jax.method",
    "diffdepth_jax.models",
    "diffdepth_jax.evaluation.edges",
    "diffdepth_jax.evaluation.metrics",
)
install_import_hook(CHECKED, "tests.support.type_checks.check")

from diffdepth_jax.training.loop import train  # noqa: E402
from tests.support import small_run  # noqa: E402

LONGEST = {"end_to_end_test.py", "datasets_end_to_end_test.py", "parallel_test.py", "step_test.py"}


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Equal programs of different tests are compiled once, by whatever process of this run.

    An entry that another process is still writing gives a warning, and is compiled again.
    """
    base = tmp_path_factory.getbasetemp()
    of_run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    directory = str(of_run / "compiled")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = directory
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.02"
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.02)


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that no process is left alone with one of them."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The tests of a file share what they prepare, so that one process runs them all."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log) if config.option.dist == "load" else None


@pytest.fixture(autouse=True)
def logging_as_before():
    """A test that shows messages leaves none of its handlers and levels to the next."""
    root, verbosity = logging.getLogger(), absl_logging.get_verbosity()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers and type(handler).__module__ == "diffdepth_jax.program.messages":
            root.removeHandler(handler)
    root.setLevel(level)
    absl_logging.set_verbosity(verbosity)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """(directory, table) of a finished run of `small_run.config()`; copy it before changing it."""
    workdir = tmp_path_factory.mktemp("runs") / "small"
    return workdir, train(small_run.config(), workdir)
