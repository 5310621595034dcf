"""Flags of the command line that are paths."""

from typing import Any

from absl import flags

from diffdepth_jax.configuration.paths import expand_home
from diffdepth_jax.errors import UserError

flags.disclaim_key_flags()  # a flag belongs to the module that calls `define_path`


class _PathParser(flags.ArgumentParser[str]):
    def parse(self, argument: str) -> str:
        try:
            return expand_home(argument)
        except UserError as error:
            raise ValueError(str(error)) from error  # absl adds the flag's name to this one

    def flag_type(self) -> str:
        return "path"


def define_path(name: str, help: str, **options: Any) -> flags.FlagHolder[str | None]:
    """Defines a flag without a default; `~` and `~NAME` at its beginning are home folders.

    `options` are those of absl, such as `allow_override` and `flag_values`.
    """
    return flags.DEFINE(_PathParser(), name, None, help, **options)


def define_paths(name: str, help: str) -> flags.FlagHolder[list[str] | None]:
    """Defines such a flag that may be given several times."""
    return flags.DEFINE_multi(_PathParser(), flags.ArgumentSerializer(), name, None, help)
