"""The flag --config: a configuration by its file, its name, or the directory of a run."""

import pathlib
import re
import runpy
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from diffdepth_jax.configuration.paths import find_configuration
from diffdepth_jax.configuration.stored import read_fields
from diffdepth_jax.errors import UserError, did_you_mean

flags.disclaim_key_flags()  # a flag belongs to the module that calls `define_config`

_FIELD = re.compile(r"^--?(?:no)?config\.([\w.]+)", re.MULTILINE)


class _ConfigParser(flags.ArgumentParser[ConfigDict]):
    """Finds configurations by name, where the library wants the path of a file."""

    def parse(self, argument: str) -> ConfigDict:
        name, _, text = argument.partition(":")
        found = find_configuration(name)
        config = _stored(found) if found.is_dir() else _loaded(found, [text] * bool(text))
        for field in _FIELD.findall("\n".join(sys.argv[1:])):  # where the library looks, too
            _check_field(config, field)
        config.lock()
        return config

    def flag_type(self) -> str:
        return "configuration"


def define_config(help: str, **options: Any) -> flags.FlagHolder[ConfigDict]:
    """Defines --config, and --config.FIELD for each field; `options` are those of absl."""
    holder = config_flags.DEFINE_config_file("config", None, help, **options)
    options.get("flag_values", flags.FLAGS)["config"].parser = _ConfigParser()
    return holder


def name_of(config: flags.Flag) -> str:
    """NAME of NAME.py, or of the directory NAME."""
    name, _, _ = config_flags.get_config_filename(config).partition(":")
    return find_configuration(name).stem


def _loaded(path: pathlib.Path, arguments: Sequence[str]) -> ConfigDict:
    """What `get_config` of a file returns."""
    try:
        config = runpy.run_path(str(path))["get_config"](*arguments)
        if isinstance(config, ConfigDict):
            return config
        reason = f"get_config() returns {type(config).__name__}"
    except Exception as error:  # whatever a file of the user raises
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    raise UserError(
        f"configuration {path} cannot be read ({reason}): it is a .py file in which get_config() "
        "returns a ConfigDict, as in configs/default.py"
    )


def _stored(directory: pathlib.Path) -> ConfigDict:
    return ConfigDict(_with_tuples(read_fields(directory)))


def _with_tuples(value: Any) -> Any:
    """Lists of a JSON file as tuples, as configurations have them."""
    if isinstance(value, dict):
        return {name: _with_tuples(each) for name, each in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _check_field(config: ConfigDict, name: str) -> None:
    """Raises a UserError that offers the nearest field unless there is one of this name."""
    known = list(names(config.to_dict()))
    if name not in known:
        near = did_you_mean(name, known) or "; configs/default.py lists all fields"
        raise UserError(f"configuration field {name} is unknown{near}")


def names(nested: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of all groups and fields."""
    for name, value in nested.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from names(value, f"{prefix}{name}.")
