"""--help and --version of every command: exit 0, every flag once, an example, and no JAX."""

import re
import subprocess
import sys

import pytest
from absl import flags

from diffdepth_jax import __main__ as dispatcher
from diffdepth_jax import __version__
from diffdepth_jax.configuration.paths import shipped_configurations
from diffdepth_jax.program.help_page import Page, render
from tests.support.paths import ROOT

SLOW_LIBRARIES = ("jax", "flax", "PIL", "scipy", "tensorflow_datasets", "orbax", "gradio")
IMPORTED = f"""
import sys
from diffdepth_jax import __main__
sys.argv = ["diffdepth", *sys.argv[1:]]
try:
    __main__.main()
except SystemExit as stop:
    status = stop.code
else:
    status = 0
print(status, [name for name in {SLOW_LIBRARIES} if name in sys.modules])
"""


def ask(*arguments):
    """What is printed, and on the last line the status and what was imported of the libraries."""
    command = [sys.executable, "-c", IMPORTED, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *lines, last = done.stdout.splitlines()
    return "\n".join(lines), last


@pytest.mark.parametrize("command", dispatcher.COMMANDS)
def test_each_command_has_a_page_and_imports_nothing_slow(command):
    text, last = ask(command, "--help")
    assert last == "0 []"
    assert text.startswith(f"usage: diffdepth {command} [flags]")
    assert re.search(rf"^diffdepth {command}\b", text, re.MULTILINE), "no example"
    named = re.findall(r"^  --(?:\[no\])?(\w+)", text, re.MULTILINE)
    assert len(named) == len(set(named)) and "More:" not in text


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_the_page_of_all_commands_has_each_with_an_example(arguments):
    text, last = ask(*arguments)
    assert last == "0 []"
    for name in dispatcher.COMMANDS:
        assert re.search(rf"^  {name} .*\n +diffdepth {name}\b", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 88


@pytest.mark.parametrize("arguments", [("--version",), ("predict", "--version")])
def test_the_version(arguments):
    assert ask(*arguments) == (f"diffdepth_jax {__version__}", "0 []")


def test_the_configurations_are_listed_with_what_they_are_for():
    text, last = ask("train", "--config=?")
    assert last == "0 []"
    purposes = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert list(purposes) == shipped_configurations()
    assert purposes["nyu"] == "NYU Depth V2 with Swin-L."


def test_a_page_has_defaults_choices_and_flags_of_no_group():
    values = flags.FlagValues()
    flags.DEFINE_enum("size", "model", ["model", "native"], "Which.", flag_values=values)
    flags.DEFINE_integer("seed", 3, "Of noise.", flag_values=values, short_name="s")
    flags.DEFINE_bool("mesh", False, "A surface; default: points.", flag_values=values)
    flags.DEFINE_string("secret", None, "No.", flag_values=values)
    flags.DEFINE_multi_string("input", None, "What; several times.", flag_values=values)
    known = [values[name] for name in ("size", "seed", "mesh", "secret", "input")]
    page = Page("Does.\n\ndiffdepth x\n", {"One": ("size", "input")}, hidden={"secret"})
    assert render("diffdepth x", page, known).splitlines() == [
        "usage: diffdepth x [flags]",
        "",
        "Does.",
        "",
        "diffdepth x",
        "",
        "One:",
        "  --size=model|native",
        "      Which. Default: model.",
        "  --input=TEXT",
        "      What; several times.",
        "",
        "More:",
        "  --seed=N, -s",
        "      Of noise. Default: 3.",
        "  --[no]mesh",
        "      A surface; default: points.",
    ]
