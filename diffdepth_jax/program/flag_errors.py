"""One line about a flag that does not parse: what it is, and what it should be."""

import re

from absl import flags

from diffdepth_jax.errors import did_you_mean

# What absl and Python say of a value, and what a user should know.
_RULES = {
    r"invalid literal for int\(\).*": "must be a whole number",
    r"could not convert string to float.*": "must be a number",
    r".*Non-boolean argument to boolean flag.*": "must be true or false",
}
_CHOICES = re.compile(r"value should be one of <(.*)>")


def sentence(error: Exception) -> str:
    """What an error of parsing says, in one line without quotes of quotes."""
    if isinstance(error, flags.UnrecognizedFlagError):
        return _unknown(error.flagname)
    text = " ".join(str(error.args[0] if error.args else error).split())
    named = re.fullmatch(r"flag (--?\S+?)=(.*?): (.*)", text)
    return f"{named[1]}={named[2]}: {_rule(named[2], named[3])}" if named else text


def _unknown(name: str) -> str:
    if name.startswith("config."):
        return f"--{name} is a field of a configuration: give --config=NAME, too"
    if meant := _fields_called(name):
        return f"unknown flag --{name}; did you mean {' or '.join(meant)}?"
    known = [each for each in flags.FLAGS if not each.startswith("config.")]
    near = did_you_mean(f"--{name}", [f"--{each}" for each in known])
    return f"unknown flag --{name}{near or '; --help lists all flags'}"


def _fields_called(name: str) -> list[str]:
    """The flags of the configuration fields whose last part this is; none without --config."""
    if "config" not in flags.FLAGS:
        return []
    # Here, because programs without configurations need not wait for them.
    from diffdepth_jax.configs import default
    from diffdepth_jax.program.config_flag import names

    known = list(names(default.get_config().to_dict()))
    fields = [each for each in known if f"{each}." not in "\n".join(known)]
    return [f"--config.{each}" for each in fields if each.rpartition(".")[2] == name]


def _rule(value: str, reason: str) -> str:
    """The rule that a value breaks."""
    choices = _CHOICES.fullmatch(reason)
    if choices:
        names = choices[1].split("|")
        return f"must be one of {', '.join(names)}{did_you_mean(value, names)}"
    for pattern, rule in _RULES.items():
        if re.fullmatch(pattern, reason):
            return rule
    return reason
