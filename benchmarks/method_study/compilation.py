"""Compiled programs are kept, for the trainings of other seeds."""

import os
import pathlib

import jax


def keep_in(workdir: str | os.PathLike) -> None:
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(workdir) / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
