"""The pages as a site: all pages are in it, the reference is that of the code, no link is dead."""

import functools
import html.parser
import importlib.util
import pathlib
import urllib.parse

import pytest

from diffdepth_jax.configs import default
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def program():
    specification = importlib.util.spec_from_file_location(
        "build_site", ROOT / "docs/build_site.py"
    )
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_page_is_in_the_navigation(program):
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")}
    assert pages < set(program.PAGES)


def _fields(config, prefix=""):
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_the_configurations_page_has_every_field(program):
    page = program.configuration_page()
    fields = list(_fields(default.get_config()))
    assert len(fields) > 100
    assert [name for name in fields if f"| `{name}` |" not in page] == []
    assert "| `train.accumulate` | `1` | micro-batches that a batch is computed in" in page


def test_the_python_page_has_the_docstrings(program):
    page = program.python_page()
    assert "### from_pretrained" in page and "### __call__" in page and "## UserError" in page


class _Page(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        self.links += [values[key] for key in ("href", "src") if values.get(key)]


def dead_links(site):
    """(page, link) of all links within a site that lead nowhere."""
    parsed = functools.cache(_Page)
    for path in sorted(site.rglob("*.html")):
        for link in parsed(path).links if path.name != "404.html" else ():
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path.parent / urllib.parse.unquote(parts.path) if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = urllib.parse.unquote(parts.fragment)
            if not target.exists() or (anchor and anchor not in parsed(target.resolve()).anchors):
                yield str(path.relative_to(site)), link


def test_a_dead_link_is_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#x"><a href="c.html"><a id="y" href="#y">')
    (tmp_path / "b.html").write_text("<p id=z>")
    assert list(dead_links(tmp_path)) == [("a.html", "b.html#x"), ("a.html", "c.html")]


@pytest.mark.slow
def test_the_built_site_has_no_dead_link(program, tmp_path):
    program.build(pathlib.Path(tmp_path))
    pages = [path for path in tmp_path.rglob("*.html") if path.name != "404.html"]
    assert len(pages) >= len(program.PAGES) and list(dead_links(tmp_path)) == []
