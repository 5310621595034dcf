"""`diffdepth doctor` and `diffdepth models`: what a bug report needs, and no name of anybody."""

import pathlib
import platform
import sys
import tomllib

import jax
import numpy as np
import pytest

from diffdepth_jax import __version__
from diffdepth_jax.prediction import doctor
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.program import diagnosis, shipped_models
from tests.support.paths import ROOT


def test_every_extra_is_a_feature():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert diagnosis.FEATURES.keys() == project["optional-dependencies"].keys()


def test_the_report_has_versions_devices_memory_and_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    (tmp_path / "a-cache").write_bytes(bytes(2_000_000))
    lines = [*diagnosis.report()]
    text = "\n".join(lines)
    assert f"diffdepth_jax {__version__}" in text and f"jax {jax.__version__}" in text
    assert f"Python {platform.python_version()}" in text
    assert f"backend {jax.default_backend()}" in text and "GiB" in text
    assert "1 programs, 2 MB" in text
    assert "cannot be found out" not in text
    assert platform.node() not in text or len(platform.node()) < 4


def test_what_is_missing_is_said_with_the_remedy(monkeypatch):
    missing = diagnosis.Feature(("no-such-package",), "pip install it")
    monkeypatch.setattr(diagnosis, "FEATURES", {"magic": missing})
    assert "  magic: missing: pip install it" in [*diagnosis.report()]


def test_a_machine_without_a_working_jax_is_reported_nevertheless(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    lines = [*diagnosis.report()]
    reason = "ModuleNotFoundError: import of jax halted; None in sys.modules"
    assert f"  cannot be found out: {reason}" in lines
    assert "Memory" in lines


def test_the_home_folder_is_nobodys_business(monkeypatch):
    monkeypatch.setattr(pathlib.Path, "home", lambda: pathlib.Path("/home/somebody"))
    assert diagnosis.without_home("in /home/somebody/x") == "in ~/x"


class _Estimator:
    def __init__(self, metres):
        self._metres = metres

    def __call__(self, image):
        depth = np.full(image.shape[:2], self._metres, np.float32)
        return type("Prediction", (), {"depth": depth})


@pytest.mark.parametrize(("metres", "passes"), [(1.285, True), (2.0, False), (np.nan, False)])
def test_the_test_compares_with_what_is_right(metres, passes, monkeypatch):
    monkeypatch.setattr(DepthEstimator, "from_pretrained", lambda _: _Estimator(metres))
    passed, line = doctor.self_test()
    assert passed == passes and "m are right" in line


def test_a_test_that_fails_says_why(monkeypatch):
    def fail(_):
        raise OSError("no such disk")

    monkeypatch.setattr(DepthEstimator, "from_pretrained", fail)
    assert doctor.self_test() == (False, "OSError: no such disk")


def test_the_model_that_ships_passes():
    """Not slow: whoever trains it anew must learn of it."""
    passed, line = doctor.self_test()
    assert passed, line


def test_each_model_that_ships_is_listed_with_its_purpose_data_licence_and_size():
    paragraphs = shipped_models.table().split("\n\n")
    assert [text.split("\n")[0] for text in paragraphs] == shipped_models.shipped_names()
    for text in paragraphs:
        rows = [line.split(":")[0].strip() for line in text.splitlines()[1:]]
        assert rows == ["for", "trained on", "licence", "size", "card"]
        assert "see the card" not in text.replace("other, see the card", "")
