"""Imports run down the rooms of the package, never up; pyproject.toml lists the rooms."""

import ast
import collections
import graphlib
import os
import subprocess
import sys

import grimp
import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "diffdepth_jax"
ONLY_IN = {  # each library, and the modules that may know it
    "safetensors": {"torch_import.reader", "checkpoints.weights_file"},
    "orbax": {"checkpoints.saved_steps"},
    "pydantic": {
        f"configuration.{name}" for name in ("data", "groups", "model", "training", "values")
    },
    "tensorflow_datasets": {"datasets.records"},
    "grain": {"datasets.pipeline"},
    "av": {"media.video"},
    "gradio": {"app", "web.answers", "web.layout", "web.page"},
    "onnx": {f"prediction.onnx_{name}" for name in ("graph", "operators", "model")},
    "trimesh": set(),
    "tensorflow": set(),
    "torch": set(),
}
WITHOUT_JAX = ("datasets", "media", "torch_import.reader", "torch_import.rules", "errors")
MAY_USE_JAX = {"datasets.pipeline"}
LINKED = ("configs", "data")  # folders of the checkout that the package holds by symbolic links


def modules():
    """Name and path of each module; `rglob` does not follow the links to `LINKED`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "__init__.py":
            yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), path


def libraries(path):
    """Top-level names of what a file imports, and how many dots each import begins with."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0], node.level


def room_of(module):
    """diffdepth_jax.method.losses -> method; a module of the package's top is a room of its own."""
    return module.split(".")[1]


def test_imports_run_down_the_rooms():
    """Prints the import graph between rooms: what README's map and pyproject.toml promise."""
    graph = grimp.build_graph("diffdepth_jax", cache_dir=None)
    arrows = collections.defaultdict(set)
    for module in graph.modules - {"diffdepth_jax"}:
        for other in graph.find_modules_directly_imported_by(module) - {"diffdepth_jax"}:
            if room_of(other) != room_of(module):
                arrows[room_of(module)].add(room_of(other))
    rooms = {room_of(module) for module in graph.modules - {"diffdepth_jax"}}
    order = list(graphlib.TopologicalSorter(arrows).static_order())  # CycleError: a circle
    up = [
        (room, other)
        for room in rooms
        for other in arrows[room]
        if order.index(other) > order.index(room)
    ]
    print(
        f"{len(rooms)} rooms, {sum(map(len, arrows.values()))} arrows, {len(up)} that run up, "
        f"0 circles; {len(graph.modules)} modules, {graph.count_imports()} imports"
    )
    assert not up
    # In a process of its own: import-linter disables all loggers of the process that calls it.
    code = "import sys; from importlinter import cli; sys.exit(cli.lint_imports(no_cache=True))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_each_library_is_known_to_few(module, path):
    used = {name for name, _ in libraries(path)}
    for library, allowed in ONLY_IN.items():
        assert library not in used or module in allowed, f"{module} imports {library}"
    if module.startswith(WITHOUT_JAX) and module not in MAY_USE_JAX:
        assert not used & {"jax", "flax"}


def test_data_preparation_never_imports_jax():
    for path in (ROOT / "data").rglob("*.py"):
        assert not {name for name, _ in libraries(path)} & {"jax", "flax"}


@pytest.mark.parametrize("folder", LINKED)
def test_the_package_holds_the_folder_by_a_link(folder):
    """A copy would drift from the folder; `core.symlinks=false` of git leaves a text file."""
    link = PACKAGE / folder
    assert link.is_symlink() and os.readlink(link) == f"../{folder}"
    assert link.resolve() == ROOT / folder


def test_linked_folders_are_imported_through_the_package_alone():
    """`configs` and `data` by themselves exist in a checkout only, and would be loaded twice."""
    for folder in (*LINKED, "diffdepth_jax", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            imported = {name for name, _ in libraries(path)}
            assert not imported & set(LINKED), f"{path} imports {imported & set(LINKED)}"
            assert folder not in LINKED or all(level == 0 for _, level in libraries(path)), path


CONFIG_MAY_ENTER = {"program.config_flag", "configuration.groups"}


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_configuration_objects_stay_at_the_edge(module, path):
    used = {name for name, _ in libraries(path)}
    assert "ml_collections" not in used or module in CONFIG_MAY_ENTER


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_imports_are_absolute(module, path):
    assert all(level == 0 for _, level in libraries(path))
