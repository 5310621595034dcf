"""Builds the pages as a web site: python docs/build_site.py [FOLDER], by default build/site.

It needs Zensical: pip install zensical. Pages are taken as they are, and two are made: a reference
of the configuration, from the comments in configs/default.py, and one of the Python interface, from
docstrings. Links to files that are no pages lead to the repository.
"""

import inspect
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

NAVIGATION = {
    "Start": {"Quick start": "README.md", "快速开始": "docs/README.zh.md"},
    "How to": {
        "Commands": "docs/commands.md",
        "Predict": "docs/predicting.md",
        "Train": "docs/training.md",
        "Your own data": "docs/own_data.md",
        "Several data sets": "docs/mixtures.md",
        "NYU and KITTI": "data/README.md",
        "Evaluate": "docs/evaluating.md",
        "PyTorch weights": "docs/porting_weights.md",
        "Several devices": "docs/scaling.md",
        "What machine": "docs/machines.md",
        "Depth Anything and DINO": "docs/foundation_models.md",
        "ONNX": "docs/onnx.md",
        "Contribute": "CONTRIBUTING.md",
    },
    "Explanation": {
        "Which program for what": "docs/which_program.md",
        "Self-diffusion": "docs/self_diffusion.md",
        "Uncertainty": "docs/uncertainty.md",
        "Resizing": "docs/resizing.md",
        "The method": "docs/method_study.md",
        "Refinement": "docs/refinement_study.md",
    },
    "Reference": {
        "Configuration": "docs/configuration.md",
        "Python": "docs/python.md",
        "Models": "docs/models.md",
        "Results": "docs/results.md",
        "Speed": "docs/speed.md",
        "Benchmarks": "benchmarks/README.md",
        "Photos": "docs/photos/README.md",
        "Security": "SECURITY.md",
    },
}
PAGES = [page for group in NAVIGATION.values() for page in group.values()]
_PICTURES = (".png", ".jpg", ".gif", ".svg")
_LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
_HEAD = ["", "| field | default | meaning |", "| --- | --- | --- |"]
_FIELD = re.compile(r'( +)(?:config\.|part\.)?"?(\w+)"?(?::| =) (.*?)(?:  # (.*))?')


def repository() -> str:
    """The address under which files are shown that are no pages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return f"{project['urls']['Repository']}/blob/main"


def linked(page: str, text: str) -> str:
    """The text of a page whose links to files that are no pages lead to the repository."""

    def target(match: re.Match) -> str:
        path, anchor = match[1], match[2] or ""
        if "://" in path:
            return match[0]
        file = (ROOT / page).parent.joinpath(path).resolve().relative_to(ROOT)
        if str(file) in PAGES or file.suffix in _PICTURES:
            return match[0]
        return f"]({repository()}/{file}{anchor})"

    return _LINK.sub(target, text)


def configuration_page() -> str:
    """Each group of configs/default.py as a table of fields, defaults and meanings."""
    lines = (ROOT / "configs/default.py").read_text().split("def get_config")[1].splitlines()
    page, path, comment = ["# Configuration", "", "Made from `configs/default.py`."], [], []
    for line in lines:
        if line.strip().startswith("#"):
            comment.append(line.strip("# "))
            continue
        match = _FIELD.fullmatch(line)
        if match:
            page += _rows(match, path, " ".join([*comment, match[4] or ""]).strip())
        comment = []
    return "\n".join(page) + "\n"


def _rows(match: re.Match, path: list[tuple[int, str]], meaning: str) -> list[str]:
    """A row, or the heading of a group; `path` holds the indents and names of the groups around."""
    indent, name, value = len(match[1]), match[2], match[3].rstrip(",")
    path[:] = [group for group in path if group[0] < indent]
    full = ".".join([*(group for _, group in path), name])
    if value.endswith(("ConfigDict(", "{", "ConfigDict({")):
        path.append((indent, name))
        return [
            "",
            f"## {full}",
            "",
            meaning,
            "",
            "| field | default | meaning |",
            "| --- | --- | --- |",
        ]
    cell = meaning.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
    return [*([] if path else _HEAD), f"| `{full}` | `{value}` | {cell} |"]


def python_page() -> str:
    """The public classes and their methods, with signatures and docstrings."""
    from diffdepth_jax import DepthEstimator
    from diffdepth_jax.errors import UserError

    page = ["# Python interface", "", "Made from docstrings."]
    for thing in (DepthEstimator, UserError):
        page += ["", f"## {thing.__name__}", "", _docstring(thing)]
        for name, member in vars(thing).items():
            function = getattr(member, "__func__", member)
            if inspect.isfunction(function) and (name[0] != "_" or name == "__call__"):
                signature = f"{name}{inspect.signature(function)}"
                page += ["", f"### {name}", "", f"```\n{signature}\n```", "", _docstring(function)]
    return "\n".join(page) + "\n"


def _docstring(thing: object) -> str:
    return f"```text\n{inspect.getdoc(thing) or ''}\n```"


def stage(folder: pathlib.Path) -> None:
    """Writes all pages and their pictures to a folder, where they lie as in the checkout."""
    made = {"docs/configuration.md": configuration_page, "docs/python.md": python_page}
    for page in PAGES:
        text = made[page]() if page in made else linked(page, (ROOT / page).read_text())
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / page).write_text(text)
    for picture in (ROOT / "docs").rglob("*.*"):
        if picture.suffix in _PICTURES:
            copy = folder / picture.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, copy)


def build(output: pathlib.Path) -> None:
    """Writes the site to the folder `output`."""
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        stage(folder / "pages")
        navigation = [
            {name: [{k: v} for k, v in pages.items()]} for name, pages in NAVIGATION.items()
        ]
        settings = {"site_name": "diffdepth_jax", "docs_dir": "pages", "site_dir": "site"}
        # JSON is YAML.
        settings |= {"nav": navigation, "use_directory_urls": False, "theme": {"font": False}}
        (folder / "mkdocs.yml").write_text(json.dumps(settings))
        subprocess.run([sys.executable, "-m", "zensical", "build"], cwd=folder, check=True)
        shutil.copytree(folder / "site", output, dirs_exist_ok=True)


if __name__ == "__main__":
    build(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/site"))
