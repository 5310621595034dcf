"""The notebook: it is kept with its outputs, its cells are code, and it runs to its end.

After a change run a copy in an empty folder, `jupyter execute --inplace quick_start.ipynb`, and
copy it back: GitHub shows what is in the file.
"""

import functools
import re
import tomllib

import nbclient
import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from diffdepth_jax.configs import default
from tests.support.paths import ROOT

NOTEBOOK = ROOT / "docs/notebooks/quick_start.ipynb"


def _notebook():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return notebook


def _code():
    return [cell for cell in _notebook().cells if cell.cell_type == "code"]


def test_it_is_kept_with_the_outputs_of_one_run_from_its_first_cell_to_its_last():
    code = _code()
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_it_is_small_and_names_no_place_of_a_machine():
    text = NOTEBOOK.read_text()
    assert len(text) < 1.5e6
    assert not re.findall(r"/(?:home|root|tmp|work|Users|usr)/", text)


def test_every_code_cell_compiles():
    for cell in _code():
        compile(TransformerManager().transform_cell(cell.source), cell.id, "exec")


def test_the_first_cell_installs_this_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"diffdepth_jax @ git+{project['urls']['Repository']}" in _code()[0].source


def test_the_fields_that_it_sets_exist():
    names = re.findall(r"--config\.([\w.]+)=", "".join(cell.source for cell in _code()))
    assert names
    for name in names:
        functools.reduce(lambda group, key: group[key], name.split("."), default.get_config())


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    """Prints what the cells print. A kernel or a cell that hangs ends with the time limit."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    notebook = _notebook()
    place = {"metadata": {"path": tmp_path}}
    client = nbclient.NotebookClient(notebook, timeout=1200, coalesce_streams=True, resources=place)
    client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    printed = [
        "".join(output.text for output in cell.outputs if output.output_type == "stream")
        for cell in code
    ]
    print("\n".join(printed))
    assert "(480, 640) float32" in printed[1] and not printed[0]
    assert any("image/png" in output.get("data", {}) for output in code[2].outputs)
    assert (tmp_path / "room.glb").read_bytes()[:4] == b"glTF"
    assert (tmp_path / "runs/mine/model.safetensors").is_file()
    assert len(list(tmp_path.glob("my_data/image/*_depth.npy"))) == 3
    # From 1 towards the 1.3 of the data, of a photo that training did not see.
    assert 1.05 < float(re.search(r"now ([\d.]+) times", printed[-2])[1]) < 1.4
