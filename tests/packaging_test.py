"""A wheel, a source archive and an editable install, built and used without network."""

import functools
import glob
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax import __version__
from diffdepth_jax.checkpoints.model_names import find_model, shipped_names
from tests.support import raw_datasets
from tests.support.paths import ROOT

COPIED = ("benchmarks", "configs", "data", "diffdepth_jax", "docs", "tests")
COPIED_FILES = ("LICENSE", "README.md", "pyproject.toml")
OWN_CONFIGURATION = """
from diffdepth_jax.configs import synthetic

def get_config():
    config = synthetic.get_config()
    config.train.num_steps = 7
    return config
"""
SHOW_STEPS = (
    "import sys; from absl import flags; from diffdepth_jax import main;"
    "flags.FLAGS(sys.argv); print(main.__file__, flags.FLAGS.config.train.num_steps)"
)
EDITABLE = """
import importlib.util, site, sys
target, checkout, *names = sys.argv[1:]
site.addsitedir(target)  # reads the .pth file, as Python does for site-packages
import diffdepth_jax.configs.default, diffdepth_jax.data.prepare
print(diffdepth_jax.configs.default.__file__, diffdepth_jax.data.prepare.__file__)
print([name for name in names if checkout in str(importlib.util.find_spec(name))])
"""


def python(*arguments, cwd, path="", status=0):
    """Output of Python, run in the folder `cwd`; it imports from `path` too."""
    environment = {**os.environ, "PYTHONPATH": str(path), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def pip(*arguments, cwd):
    python("-m", "pip", *arguments, "--quiet", "--no-deps", "--no-index", cwd=cwd)


def modules(folder):
    """The .py files of a package; other than `rglob`, `glob` follows links to folders."""
    return set(glob.glob("**/*.py", root_dir=folder, recursive=True))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy to build in: setuptools leaves build/ and *.egg-info beside pyproject.toml."""
    copy = tmp_path_factory.mktemp("checkout")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignore)
    for name in COPIED_FILES:
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def installed(checkout, tmp_path_factory):
    """A folder like site-packages into which the wheel is installed."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip("wheel", ".", "--no-build-isolation", "--wheel-dir", wheels, cwd=checkout)
    (wheel,) = wheels.iterdir()
    pip("install", wheel, "--target", target, cwd=wheels)
    return target


def test_a_wheel_installs_nothing_beside_the_package(installed):
    names = sorted(path.name for path in installed.iterdir())
    version = f"diffdepth_jax-{__version__}.dist-info"
    assert names == ["bin", "diffdepth_jax", version]
    assert [path.name for path in (installed / "bin").iterdir()] == ["diffdepth"]


def test_a_wheel_holds_every_module_the_configurations_and_the_data_programs(checkout, installed):
    package = installed / "diffdepth_jax"
    assert modules(package) == modules(checkout / "diffdepth_jax")
    for folder in ("configs", "data"):
        assert modules(package / folder) == modules(ROOT / folder)
    assert (package / "py.typed").is_file() and (package / "data/README.md").is_file()
    assert not any(path.is_symlink() for path in package.iterdir())


def test_a_wheel_holds_the_models_that_ship(installed):
    for name in shipped_names():
        ours, theirs = find_model(name), installed / f"diffdepth_jax/pretrained/{name}"
        assert {path.name: path.read_bytes() for path in theirs.iterdir()} == {
            path.name: path.read_bytes() for path in ours.iterdir()
        }


def test_an_installed_program_predicts_without_any_other_argument(installed, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "photo.jpg")
    program = ("-m", "diffdepth_jax.predict", "--input=photo.jpg", "--output=out")
    printed = python(*program, cwd=tmp_path, path=installed)
    assert "which ships with the program" in printed
    assert np.load(tmp_path / "out/photo.npy").shape == (60, 80)


def test_a_source_archive_holds_what_the_wheel_holds(checkout, installed, tmp_path):
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    python("-c", build, tmp_path, cwd=checkout)
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as members:
        files = {pathlib.PurePath(member.name) for member in members if member.isfile()}
    held = {str(path.relative_to(*path.parts[:2])) for path in files if len(path.parts) > 2}
    package = installed / "diffdepth_jax"
    models = {f"pretrained/{name}/model.safetensors" for name in shipped_names()}
    assert held >= modules(package) | {"py.typed", "data/README.md"} | models


@pytest.mark.parametrize("program", [("bin/diffdepth",), ("-m", "diffdepth_jax")])
def test_an_installed_program_shows_its_help_and_version(installed, tmp_path, program):
    if program == ("bin/diffdepth",):
        program = (installed / "bin/diffdepth",)
    run = functools.partial(python, *program, cwd=tmp_path, path=installed)
    assert "diffdepth predict" in run().replace("python -m diffdepth_jax", "diffdepth")
    assert "--checkpoint" in run("predict", "--help")
    assert run("--version") == f"diffdepth_jax {__version__}\n"
    run("predct", status=2)


def test_the_programs_by_their_modules_show_their_help(installed, tmp_path):
    for module in ("predict", "main", "convert", "export", "app", "data.prepare"):
        printed = python("-m", f"diffdepth_jax.{module}", "--help", cwd=tmp_path, path=installed)
        assert printed.startswith(f"usage: python -m diffdepth_jax.{module} [flags]")
        assert "\n  --" in printed


def test_an_installed_program_takes_configurations_from_anywhere(installed, tmp_path):
    (tmp_path / "mine.py").write_text(OWN_CONFIGURATION)
    steps = functools.partial(python, "-c", SHOW_STEPS, cwd=tmp_path, path=installed)
    main = installed / "diffdepth_jax/main.py"
    assert steps("--config=mine.py") == f"{main} 7\n"
    for shipped in ("synthetic", "configs/synthetic.py"):
        assert steps(f"--config={shipped}", "--config.train.num_steps=8") == f"{main} 8\n"


def test_an_installed_program_prepares_data_in_worker_processes(installed, tmp_path):
    raw_datasets.nyu_sync(tmp_path / "raw")
    program = ("-m", "diffdepth_jax.data.prepare", "--any_size", "--num_workers=2")
    folders = ("--dataset=nyu_depth/sync", "--source=raw", "--data_dir=prepared")
    printed = python(*program, *folders, cwd=tmp_path, path=installed)
    assert "nyu_depth/sync train: 4 frames" in printed


def test_an_editable_install_finds_configurations_and_data_programs(checkout, tmp_path):
    pip("install", "-e", ".", "--no-build-isolation", "--target", tmp_path / "site", cwd=checkout)
    arguments = (tmp_path / "site", checkout, *COPIED)
    found = python("-c", EDITABLE, *arguments, cwd=tmp_path).splitlines()
    package = checkout / "diffdepth_jax"
    assert found == [f"{package}/configs/default.py {package}/data/prepare.py", "['diffdepth_jax']"]
