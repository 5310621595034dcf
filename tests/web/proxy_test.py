"""A real nginx with HTTPS, as docs/predicting.md sets it up, stands in front of the page."""

import base64
import shutil
import subprocess
import time

import pytest

from tests.support import uploads
from tests.support.paths import ROOT
from tests.support.visitors import Visitor, message, running_page, stored

AUTHORIZATION = "Basic " + base64.b64encode(b"ann:secret").decode()


class KnownVisitor(Visitor):
    """States the password."""

    def open(self, path, data=None, method=None, **headers):
        return super().open(path, data, method, Authorization=AUTHORIZATION, **headers)


def _configuration(folder, page_port, port):
    """The block of the docs with our ports and certificate, for a user's own nginx."""
    page = (ROOT / "docs/predicting.md").read_text()
    server = page[page.index("server {\n") :].partition("\n}\n")[0] + "\n}"
    for old, new in {
        "listen 443": f"listen 127.0.0.1:{port}",
        "127.0.0.1:7860": f"127.0.0.1:{page_port}",
        "depth.example.org": "localhost",
        "/etc/ssl": str(folder),
    }.items():
        assert old in server
        server = server.replace(old, new)
    own = f"pid {folder}/pid; error_log {folder}/errors; events {{}} http {{ access_log off;"
    for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        own += f" {name}_temp_path {folder}/{name};"
    return f"daemon off; {own} {server} }}"


@pytest.fixture
def proxied(tmp_path, monkeypatch):
    """The address of the page behind nginx."""
    pytest.importorskip("gradio")
    nginx, openssl = shutil.which("nginx", path="/usr/sbin:/usr/bin"), shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light openssl")
    certificate = f"-keyout {tmp_path}/depth.key -out {tmp_path}/depth.pem -subj /CN=localhost"
    certificate += " -addext subjectAltName=DNS:localhost"
    command = f"{openssl} req -x509 -newkey rsa:2048 -nodes {certificate}".split()
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", f"{tmp_path}/depth.pem")  # the visitor's only authority
    (tmp_path / "password.txt").write_text("secret\n")
    (tmp_path / "temporary").mkdir()
    auth = f"--auth=ann:{tmp_path}/password.txt"
    with running_page("synthetic_small", tmp_path / "temporary", auth) as (_, address):
        port = uploads.free_port()
        file = tmp_path / "nginx.conf"
        file.write_text(_configuration(tmp_path, address.rstrip("/").rpartition(":")[2], port))
        proxy = subprocess.Popen([nginx, "-c", file, "-p", tmp_path])
        time.sleep(2)
        yield f"https://localhost:{port}/"
        proxy.terminate()
        proxy.wait()


@pytest.mark.slow
def test_the_page_works_behind_a_proxy_and_its_cookie_stays_encrypted(proxied, tmp_path):
    visitor = KnownVisitor(proxied)
    assert all(cookie.secure for cookie in visitor.cookies) and len(visitor.cookies) == 1
    assert f'"root":"{proxied.rstrip("/")}"' in visitor.html
    photo = visitor.upload(uploads.photo_file(tmp_path))
    values = visitor.estimate(stored(photo), ensemble=1)
    assert message(values) == "" and "m**, median" in str(values)
    assert visitor.file(photo)[0] == 200
