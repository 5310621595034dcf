"""Imports point one way: a module imports only modules of a lower rank."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]

RANKS = [
    {"errors", "collectives"},
    {"models.layers", "models.batch_norm", "transforms", "visualize", "scene_textures", "camera",
     "video", "sharding", "preemption"},
    {"torch_file", "torch_rules", "folder", "tfrecord", "placement", "point_cloud"},
    {"models.linear_stack", "models.swin", "models.fpn", "models.depth_codec", "models.denoiser",
     "records", "image_io"},
    {"skipped_updates", "profiling", "environment", "messages", "checksums", "processes",
     "compilation_cache"},
    {"torch_rules_backbones", "models.hahi", "models.mpvit", "models.resnet", "models.released"},
    {"torch_weights"},
    {"models.diffusion_depth", "scene_renderer", "diffusion", "losses", "metrics", "flops",
     "saved_steps"},
    {"scene_items", "inference", "train_state", "optimizer", "checkpoint", "run_log"},
    {"scene_layouts", "objective", "evaluate", "protocols"},
    {"synthetic", "estimator", "pretrained", "train_step"},
    {"input_pipeline", "entry", "outputs", "input_files"},
    {"evaluator", "file_prediction"},
    {"train", "predict", "convert", "export", "page_results", "scored_folder", "submission"},
    {"main", "page"},
    {"app"},
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
NUMPY_ONLY = {"transforms", "folder", "visualize", "synthetic", "torch_file", "torch_rules"}
ONLY_IN = {
    "safetensors": {"torch_file"},
    "orbax": {"saved_steps"},
    "tensorflow_datasets": {"records"},
    "grain": {"input_pipeline"},
    "av": {"video"},
    "trimesh": set(),
    "tensorflow": set(),
    "torch": set(),
}


def modules():
    package = ROOT / "diffdepth_jax"
    for path in sorted(package.rglob("*.py")):
        if path.name != "__init__.py":
            yield ".".join(path.relative_to(package).with_suffix("").parts), path


def imported(path):
    """Dotted names of what a file imports; `from a import b` counts as a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name):
    """The module of this package that an imported name lies in, or None."""
    if not name.startswith("diffdepth_jax."):
        return None
    name = name.removeprefix("diffdepth_jax.")
    while name and name not in RANK:
        name = name.rpartition(".")[0]
    return name or None


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_module_imports_lower_ranks_only(module, path):
    assert module in RANK, f"give {module} a rank in {__file__}"
    for name in imported(path):
        if own(name):
            assert RANK[own(name)] < RANK[module], f"{module} imports {name}"


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_each_library_is_known_to_few(module, path):
    libraries = {name.split(".")[0] for name in imported(path)}
    for library, allowed in ONLY_IN.items():
        assert library not in libraries or module in allowed, f"{module} imports {library}"
    if module in NUMPY_ONLY or module.startswith("scene_"):
        assert not libraries & {"jax", "flax"}


def test_data_preparation_never_imports_jax():
    for path in (ROOT / "data").rglob("*.py"):
        assert not {name.split(".")[0] for name in imported(path)} & {"jax", "flax"}


PURE_MATHS = {"diffusion", "losses", "metrics", "inference", "objective"}
CONFIG_MAY_ENTER = {
    "main", "train", "evaluate", "evaluator", "predict", "convert", "estimator", "checkpoint"
}  # fmt: skip


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_models_and_pure_maths_know_nothing_but_themselves(module, path):
    """Neither state nor input nor pictures, which ranks alone would allow."""
    used = {own(name) for name in imported(path)} - {None, "errors", "collectives"}
    beyond_models = {name for name in used if not name.startswith("models.")}
    if module.startswith("models."):
        assert not beyond_models
    if module in PURE_MATHS:
        assert beyond_models <= PURE_MATHS


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_configuration_objects_stay_at_the_edge(module, path):
    libraries = {name.split(".")[0] for name in imported(path)}
    assert "ml_collections" not in libraries or module in CONFIG_MAY_ENTER


@pytest.mark.parametrize(("module", "path"), list(modules()))
def test_imports_are_absolute(module, path):
    """The other tests here read names from the package's root."""
    nodes = ast.walk(ast.parse(path.read_text()))
    assert all(node.level == 0 for node in nodes if isinstance(node, ast.ImportFrom))
