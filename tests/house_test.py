"""The measures of the house: short functions, short files, and types on everything public."""

import ast
import statistics

import pytest

from diffdepth_jax.method import losses
from tests.support import tiny
from tests.support.paths import ROOT

FILES = sorted(path for name in ("diffdepth_jax", "data") for path in (ROOT / name).rglob("*.py"))


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def body_lines(function):
    """The length of a function without its signature and its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_functions_and_files_are_short():
    """Prints the measures."""
    lines = sorted(
        body_lines(function)
        for path in FILES
        for function in functions(ast.parse(path.read_text()))
    )
    longest_file = max(FILES, key=lambda path: len(path.read_text().splitlines()))
    file_lines = len(longest_file.read_text().splitlines())
    median, ninety = statistics.median(lines), lines[int(0.9 * len(lines))]
    print(
        f"{len(lines)} functions: median {median}, 90 % at most {ninety}, longest {lines[-1]} "
        f"lines; {len(FILES)} files: longest {file_lines} lines ({longest_file.name})"
    )
    assert median <= 5 and ninety <= 14 and lines[-1] <= 40
    assert file_lines <= 300


def public_functions(tree):
    """Functions and methods that others call: of the module, and of its public classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (each for each in node.body if isinstance(each, ast.FunctionDef))


def is_public(function):
    name = function.name
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def without_types(function):
    """Names of the arguments without an annotation, and "return" if the result has none."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    names = [each.arg for each in every if each.annotation is None]
    names = [name for name in names if name not in ("self", "cls", "_")]
    needs_result = function.returns is None and function.name != "__init__"
    return names + ["return"] * needs_result


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_have_types(path):
    for function in filter(is_public, public_functions(ast.parse(path.read_text()))):
        assert not without_types(function), f"{path}:{function.lineno} {function.name}"


def test_a_wrong_shape_in_a_loss_is_caught():
    """By the run-time check of conftest.py: a mask without its last axis would broadcast."""
    batch = tiny.batch()
    depth, mask = batch["depth"], batch["mask"]
    losses.l1(depth, depth, mask)
    with pytest.raises(TypeError, match=r"losses\.l1"):
        losses.l1(depth, depth, mask[:, :, :, 0])
