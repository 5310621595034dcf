"""The web page as a process, a visitor without a browser, an estimator that costs nothing."""

import contextlib
import html
import http.cookiejar
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.depth_prediction import DepthPrediction
from tests.support import uploads

_FORM = b'--x\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n--x--\r\n'


class Estimator:
    """Depth that grows from left to right; remembers how it was called."""

    num_steps, focal_length, diffuses, has_scale = 2, 0.0, True, False
    has_canonical_camera = False
    calibrated = 3  # samples

    def is_calibrated(self, ensemble, num_steps):
        return ensemble == self.calibrated

    def check(self, options):
        if options.interval and options.ensemble < 2 and not self.has_scale:
            raise UserError("one sample says nothing of it")

    def __call__(self, image, *, ensemble, trajectory, **options):
        self.options = {**options, "trajectory": trajectory}
        height, width = image.shape[:2]
        depth = np.tile(np.linspace(1, 9, width, dtype=np.float32), (height, 1))
        return DepthPrediction(
            depth,
            options["focal_length"],
            image,
            spread=0.01 * depth if ensemble > 1 else None,
            trajectory=np.stack([depth, depth]) if trajectory else None,
            low=depth / 2 if options["interval"] else None,
            high=2 * depth if options["interval"] else None,
        )


@contextlib.contextmanager
def running_page(model, folder, *more):
    """The program as a process of its own, with its temporary files in a folder; its address."""
    port = uploads.free_port()
    flags = [f"--checkpoint={model}", f"--port={port}", *more]
    command = [sys.executable, "-m", "diffdepth_jax.app", *flags]
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert f":{port}" in process.stdout.readline()
        yield process, f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


class Visitor:
    """Opens the page at an address, keeps its cookies, and sends what a browser would send."""

    def __init__(self, address, name="visitor"):
        self.address, self.name = address, name
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.cookies)
        )
        self.html = self.ask("")[1].decode()

    def open(self, path, data=None, method=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        return self._opener.open(request, timeout=60)

    def ask(self, path, data=None, method=None, **headers):
        """(status, body) of an answer."""
        try:
            with self.open(path, data, method, **headers) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def send(self, name, contents):
        """(status, body) of the answer to an upload."""
        form = _FORM % (name.encode(), contents)
        kind = "multipart/form-data; boundary=x"
        return self.ask("gradio_api/upload", form, Content_Type=kind)

    def upload(self, path):
        """Uploads a file; the path at which it was stored."""
        return json.loads(self.send(path.name, path.read_bytes())[1])[0]

    def file(self, path, **headers):
        return self.ask("gradio_api/file=" + urllib.request.quote(str(path)), **headers)

    def join(self, data, fn_index=0, event_data=None):
        """(status, body) of the answer to an event."""
        fields = {"data": data, "fn_index": fn_index, "trigger_id": 1, "event_data": event_data}
        body = json.dumps({**fields, "session_hash": self.name}).encode()
        return self.ask("gradio_api/queue/join", body, Content_Type="application/json")

    def messages(self):
        """The messages about this visitor's events."""
        for line in self.open(f"gradio_api/queue/data?session_hash={self.name}"):
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))

    def estimate(self, photo, ensemble=2):
        """The values for the page's parts that a photo gets, which may be any JSON."""
        status, body = self.join([photo, 2, ensemble, 0, 60, None])
        assert status == 200, body
        return self.answer()

    def answer(self):
        """The values for the page's parts after an event."""
        for each in self.messages():
            if each["msg"] == "process_completed":
                return each["output"].get("data") or each["output"]


def message(values):
    """What went wrong, as the page tells it; "" if nothing did."""
    texts = (re.search(r'<p role="alert">(.*)</p>', str(value)) for value in values)
    return "".join(html.unescape(text[1]) for text in texts if text)


def stored(path):
    """An upload as the page names it."""
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}
