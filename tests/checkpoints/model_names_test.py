"""Names lead to models that ship, to folders, and to the Hugging Face hub, which a server stands
in for here."""

import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from diffdepth_jax.checkpoints.model_names import find_model, shipped_names
from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.program import shipped_models
from tests.support import small_model

COMMIT = "1" * 40


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder in the place of the models that ship, with one model."""
    monkeypatch.setattr(shipped_models, "FOLDER", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shipped").mkdir()
    small_model.save(tmp_path / "shipped/small")
    return tmp_path


def test_a_model_that_ships_is_found_by_its_name(models):
    assert shipped_names() == ["small"]
    assert find_model("small") == models / "shipped/small"
    DepthEstimator.from_pretrained("small")


def test_a_path_that_exists_comes_first(models):
    (models / "small").mkdir()
    assert find_model("small") == pathlib.Path("small")


@pytest.mark.parametrize("name", ["smal", "runs/synthetic", "/runs/synthetic", "a/b/c"])
def test_a_mistyped_name_is_refused_with_what_exists(models, name):
    """Of two parts, too, if the first is a folder here: no server is asked."""
    (models / "runs").mkdir()
    with pytest.raises(UserError, match=rf"{name} does not exist.*ships \(small\).*hub"):
        find_model(name)


def test_without_the_hubs_library_a_sentence_says_what_to_install(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"ann/rooms is no folder .*pip install huggingface_hub"):
        find_model("ann/rooms")


class _Hub(http.server.BaseHTTPRequestHandler):
    """Serves one repository, ann/rooms, as the hub does."""

    files: pathlib.Path

    def _answer(self, body):
        path = self.path.split("?")[0]
        if path.startswith("/api/models/ann/rooms/tree/"):
            sizes = {file.name: file.stat().st_size for file in self.files.iterdir()}
            entries = [
                {"type": "file", "path": name, "size": size, "oid": f"{size:040x}"}
                for name, size in sizes.items()
            ]
            return self._send(json.dumps(entries).encode(), body)
        if path.startswith("/api/models/ann/rooms"):
            names = [{"rfilename": name} for name in os.listdir(self.files)]
            text = json.dumps({"id": "ann/rooms", "sha": COMMIT, "siblings": names}).encode()
            return self._send(text, body)
        if path.startswith(f"/ann/rooms/resolve/{COMMIT}/"):
            return self._send((self.files / path.rsplit("/", 1)[1]).read_bytes(), body)
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hash(content):x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(tmp_path):
    """Runs code in a process whose hub is a server of this one; returns what it printed."""
    pytest.importorskip("huggingface_hub")
    small_model.save(tmp_path / "repository")
    (tmp_path / "repository/training.log").write_text("not of the model")
    handler = type("Hub", (_Hub,), {"files": tmp_path / "repository"})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "no_proxy": "127.0.0.1",
        "HF_HUB_OFFLINE": "0",
    }

    def run(code):
        command = [sys.executable, "-c", code]
        environment = os.environ | settings
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    yield run
    server.shutdown()


def test_a_repository_of_the_hub_is_downloaded_and_loaded(hub, tmp_path):
    code = "from diffdepth_jax import DepthEstimator as D; D.from_pretrained('ann/rooms')"
    done = hub(code)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "home").rglob("snapshots/*/*")}
    assert names == {"config.json", "model.safetensors"}


def test_a_repository_that_does_not_exist_is_named(hub):
    code = (
        "from diffdepth_jax.checkpoints.model_names import find_model\n"
        "from diffdepth_jax.errors import UserError\n"
        "try: find_model('ann/streets')\n"
        "except UserError as error: print(error)"
    )
    done = hub(code)
    assert done.returncode == 0, done.stderr
    assert "ann/streets is no folder here, and the Hugging Face hub does not give it" in done.stdout
