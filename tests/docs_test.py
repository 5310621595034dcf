"""The pages and both READMEs: commands, links and examples are those of the programs."""

import functools
import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zlib
from unittest import mock

import numpy as np
import pytest
from absl import flags
from PIL import Image

from diffdepth_jax import __main__ as dispatcher
from diffdepth_jax.checkpoints.model_directory import claim_directory
from diffdepth_jax.configs import default
from diffdepth_jax.program import config_flag, path_flags
from tests.media.video_test import write_lossless
from tests.support import small_model, small_run
from tests.support.pages import FENCE, blocks
from tests.support.paths import ROOT

PACKAGE = ROOT / "diffdepth_jax"
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "docs/README.zh.md"
PAGES = [
    ENGLISH,
    ROOT / "data/README.md",
    ROOT / "benchmarks/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_DEFINERS = [name for name in dir(flags) if name.startswith("DEFINE_") and name != "DEFINE_flag"]
# What a reader puts a number in place of.
_NUMBERS = {"--num_processes=N": "--num_processes=2", "--process_id=I": "--process_id=1"}


def _name(page):
    return page.name


def commands(page):
    """The words of each line of the shell blocks, also of commands within a command's words."""
    found = []
    for text in blocks(page, "sh", "bash"):
        for line in text.replace("\\\n", " ").splitlines():
            found += _simple_commands(line)
    return found


def _simple_commands(line):
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    words, found = [], []
    for word in [*lexer, ";"]:
        if set(word) <= set(";&|"):
            found += [words] * bool(words)
            words = []
        else:
            words.append(word)
    for command in re.findall(r"--command='([^']+)'", line):
        found += _simple_commands(command)
    return found


def programs(page):
    """(module, arguments) of what `python -m` or `diffdepth` starts, wherever it stands."""
    for words in commands(page):
        for index, word in enumerate(words[:-1]):
            if pathlib.PurePath(word).name == "python" and words[index + 1] == "-m":
                yield words[index + 2], words[index + 3 :]
            elif word == "diffdepth":
                command = dispatcher.COMMANDS[words[index + 1]]
                yield f"diffdepth_jax.{command.module}", [*command.flags, *words[index + 2 :]]


def _all_programs():
    """The same command of several pages once."""
    return sorted({(module, *arguments) for page in PAGES for module, arguments in programs(page)})


def parse(module, arguments):
    """(flags, names of those required), as the program parses them.

    Its module is executed anew, with a registry of its own: programs share names of flags.
    """
    values, argv = flags.FlagValues(), [module, *arguments]
    define_config = functools.partial(config_flag.define_config, flag_values=values, sys_argv=argv)
    define_path = functools.partial(path_flags.define_path, flag_values=values)
    own = {n: functools.partial(getattr(flags, n), flag_values=values) for n in _DEFINERS}
    specification = importlib.util.find_spec(module)
    program = importlib.util.module_from_spec(specification)
    with (
        mock.patch.multiple(flags, **own),
        mock.patch.object(config_flag, "define_config", define_config),
        mock.patch.object(sys, "argv", argv),
        mock.patch.object(path_flags, "define_path", define_path),
    ):
        specification.loader.exec_module(program)
    with mock.patch.object(program, "start") as start:
        program.main()
    started = start.call_args.kwargs
    completed = started.get("complete", list)(arguments)
    rest = values([module, *completed])[1:]
    assert not rest or started.get("takes_arguments"), f"{module} takes no arguments such as {rest}"
    return values, started["required"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder, no checkout, with the configuration of the run that pages name."""
    folder = tmp_path_factory.mktemp("shelf")
    claim_directory(folder / "runs/synthetic", small_run.config())
    return folder


@pytest.mark.parametrize("command", _all_programs(), ids=" ".join)
def test_a_command_is_one_that_its_program_takes(command, shelf, monkeypatch):
    monkeypatch.chdir(shelf)
    module, *arguments = command
    values, required = parse(module, [_NUMBERS.get(word, word) for word in arguments])
    for name in required:
        assert values[name].value is not None, f"--{name} is missing"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config.train.batch=1"],
        ["--config.train.batch_size=many"],
        ["--seed=1"],
        ["train"],
        ["--mode=learn"],
        ["--config=configs/nowhere.py"],
    ],
)
def test_a_command_that_its_program_refuses_is_found(arguments, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(Exception, match=r"batch|seed|train|learn|nowhere"):
        parse("diffdepth_jax.main", ["--config=configs/synthetic.py", *arguments])


def test_commands_are_found_wherever_they_stand():
    assert _simple_commands("a && b -c 'd e' # f") == [["a"], ["b", "-c", "d e"]]
    assert _simple_commands("ssh --command='cd x && y z'")[1:] == [["cd", "x"], ["y", "z"]]
    found = {module for page in PAGES for module, _ in programs(page)}
    names = ("main", "predict", "convert", "app", "export")
    typed = {f"diffdepth_jax.{command.module}" for command in dispatcher.COMMANDS.values()}
    assert found - {"data.prepare"} == {f"diffdepth_jax.{name}" for name in names} | typed


@pytest.fixture(scope="module")
def all_flags():
    """Of the programs on the pages, and those that the benchmarks give to argparse."""
    modules = {module for page in PAGES for module, _ in programs(page)}
    scripts = "".join(path.read_text() for path in (ROOT / "benchmarks").rglob("*.py"))
    named = set(re.findall(r'"--(\w+)"', scripts))
    return named | {name for module in modules for name in parse(module, [])[0]}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_flags_that_are_named_exist(page, all_flags):
    """--name in backquotes, but for those of SLURM, which have dashes in them."""
    for code in re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text())):
        for name in re.findall(r"(?<!=)--([a-z_]+)(?![\w-])", code):
            assert name in all_flags, code


def test_what_is_installed_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for page in PAGES:
        text = page.read_text()
        assert set(re.findall(r"\.\[(\w+)\]", text)) <= project["optional-dependencies"].keys()
        for name in re.findall(r"pip install -r (\S+)", text):
            assert (ROOT / name).is_file(), name


def test_scripts_that_are_started_exist():
    scripts = [
        words[1]
        for page in PAGES
        for words in commands(page)
        if words[0] == "python" and words[1] not in ("-m", "-c")
    ]
    assert scripts and all((ROOT / script).is_file() for script in scripts)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_fields_that_are_named_exist(page):
    """`group.field` in backquotes, with or without a value, and --config.group.field anywhere."""
    config, text = default.get_config(), page.read_text()
    with config.unlocked():
        config.part = default.get_part()
    named = re.findall(r"--config\.([\w.]+)", text)
    named += [
        name
        for name in re.findall(r"`(\w+(?:\.\w+)+)(?:=[^`]*)?`", text)
        if name.split(".")[0] in config and not name.endswith((".py", ".safetensors"))
    ]
    for name in (re.sub(r"^data\.mixture\.\w+\.", "part.", name) for name in named):
        functools.reduce(lambda group, key: group[key], name.rstrip(".").split("."), config)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=_name)
def test_links_lead_somewhere(page):
    for link in _LINK.findall(page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def _anchors(page):
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_that_are_named_exist(page):
    """`name.py` somewhere; `folder/...` in the checkout or in the package."""
    names = {path.name for path in ROOT.rglob("*.py")} | {"NAME.py"}
    for name in re.findall(r"`(?:[\w/]+/)?(\w+\.py)`", page.read_text()):
        assert name in names, name
    folders = {path.name for place in (ROOT, PACKAGE) for path in place.iterdir() if path.is_dir()}
    folders -= {"depth", "runs"}  # what the README's commands leave in a checkout
    for path in re.findall(r"`(\w+/[\w./]*)`", page.read_text()):
        if path.split("/")[0] in folders and "NAME" not in path:
            assert (ROOT / path).exists() or (PACKAGE / path).exists(), path


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=_name)
def test_the_map_has_a_row_for_each_folder_and_file_of_the_package(page):
    rows = re.findall(r"^\| (`.*?) \|", page.read_text().split("\n## ")[-1], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w.]+/?)`", row)}
    visible = [path for path in PACKAGE.iterdir() if path.name[0] not in "_."]
    folders = {f"{path.name}/" for path in visible if path.is_dir()}
    files = {path.name for path in visible if path.suffix == ".py"}
    assert named == folders | files | {"tests/", "benchmarks/", "docs/", "CONTRIBUTING.md"}


def test_the_readme_is_read_in_a_minute():
    text = ENGLISH.read_text()
    assert len(text.splitlines()) <= 150 and len(text.split()) <= 1400


def test_the_chinese_readme_has_the_commands_and_numbers_of_the_english_one():
    assert commands(CHINESE) == commands(ENGLISH)

    def without_comments(text):
        return re.sub(r" *#.*", "", text)

    ours, theirs = (
        list(map(without_comments, blocks(page, "python"))) for page in (CHINESE, ENGLISH)
    )
    assert ours == theirs
    cells, numbers = r"(?<=\| )[\d.,]+(?= \|)", r"\d+"
    for pattern in (cells, numbers, r"--[\w.]+", r"^#+ ", r"`[\w./*]+\.\w+`", r"`[\w./]+/`"):
        found = [re.findall(pattern, page.read_text(), re.M) for page in (CHINESE, ENGLISH)]
        assert sorted(found[0]) == sorted(found[1]), pattern


# What is really run


def _write_pairs(folder):
    for name in ("image", "depth"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for index in range(12):
        picture = rng.integers(0, 256, (*small_run.SIZE, 3), np.uint8)
        Image.fromarray(picture).save(folder / f"image/{index:04}.jpg")
        depth = rng.integers(1000, 9000, small_run.SIZE).astype(np.uint16)
        Image.fromarray(depth).save(folder / f"depth/{index:04}.png")
        lines.append(f"image/{index:04}.jpg depth/{index:04}.png 60\n")
    (folder / "train.txt").write_text("".join(lines[:10]))
    (folder / "eval.txt").write_text("".join(lines[10:]))
    (folder / "calibration.txt").write_text("".join(lines[:6]))


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A working directory with what the pages speak of: a model, photos, a clip, own data."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("configs", "docs", "requirements.txt"):
        (folder / name).symlink_to(ROOT / name)
    small_model.save(folder / "runs/synthetic")
    _write_pairs(folder / "my_data")
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (2, *small_run.SIZE, 3), np.uint8))
    (folder / "photos").mkdir()
    Image.fromarray(images[0]).save(folder / "photo.jpg")
    for name, image in zip(("a.jpg", "b.jpg"), images, strict=True):
        Image.fromarray(image).save(folder / name)
        Image.fromarray(image).save(folder / "photos" / name)
    np.save(folder / "image.npy", images[0])
    write_lossless(folder / "clip.mp4", images)
    return folder


OURS = [page for page in PAGES if page != CHINESE and page.parent.name != "data"]


@pytest.mark.parametrize("page", [p for p in OURS if blocks(p, "python")], ids=_name)
def test_python_examples_run(page, desk, monkeypatch):
    monkeypatch.chdir(desk)
    for text in blocks(page, "python"):
        exec(compile(text, page.name, "exec"), {"image_uint8": np.load("image.npy")})


# Of data that the desk lacks, or of a second process.
_BEYOND = (
    "models/released",
    "models/da_",
    "runs/longer",
    "backbone_weights",
    "localhost:",
    "diode/",
)
_PREDICTING = (
    "diffdepth_jax.predict",
    "diffdepth_jax.export",
    "docs/load_exported.py",
    "docs/load_onnx.py",
)
_TRAINING = r"(main --config=configs/|diffdepth_jax train --config=)(synthetic|folder|mixture)\b"


def _runnable(page):
    """Commands for which everything is there; those that train are made small."""
    for words in commands(page):
        if words[:2] in (["diffdepth", "predict"], ["diffdepth", "export"]):
            words = ["python", "-m", f"diffdepth_jax.{words[1]}", *words[2:]]
        elif words[0] == "diffdepth":
            words = ["python", "-m", "diffdepth_jax", *words[1:]]
        text = " ".join(words)
        if words[0] != "python" or any(name in text for name in _BEYOND):
            continue
        if any(name in words for name in _PREDICTING):
            yield words
        elif re.search(_TRAINING, text):
            yield _small(words)


def _small(words):
    words = [re.sub("=DIR$", "=my_data", word) for word in words]
    # The small sizes stand for those of the page: a tuple's flag that is given twice is joined.
    words = [word for word in words if not re.match(r"--config\..*size=", word)]
    given = {word.split("=")[0] for word in words}
    name = pathlib.PurePath(next(word for word in words if word.startswith("--config="))[9:]).stem
    fields = small_run.MIXTURE if name == "mixture" else small_run.OVERRIDES
    fields = fields | {"train.num_threads": 2, "evaluation.baselines": False}
    added = {f"--config.{name}": value for name, value in fields.items()}
    # Not where the model lies, and of each command its own.
    added["--workdir"] = f"runs/small_{name}_{zlib.crc32(' '.join(words).encode())}"
    return [*words, *(f"{name}={value}" for name, value in added.items() if name not in given)]


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in OURS if [*_runnable(p)]], ids=_name)
def test_commands_that_need_nothing_else_run_as_printed(page, desk):
    """In the order of the page: later ones use what earlier ones wrote."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(desk / "compiled"),
    }
    for words in _runnable(page):
        command = [sys.executable, *words[1:]]
        shutil.rmtree(desk / "depth", ignore_errors=True)  # results of other models or flags
        done = subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr[-2000:]}"
