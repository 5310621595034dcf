"""List files: each line holds the paths "image depth [focal length]", relative to the source."""

import pathlib

from diffdepth_jax.data.frames import Found, Options
from diffdepth_jax.errors import UserError


def find_list(options: Options, split: str, defaults: tuple[str, ...]) -> pathlib.Path | None:
    """The list file that the command line names, or the first default that the source holds."""
    if split in options.lists:
        named = pathlib.Path(options.lists[split]).expanduser()
        candidates = [named, options.source / named]
    else:
        candidates = [options.source / name for name in defaults]
    return next((path for path in candidates if path.is_file()), None)


def missing_list(options: Options, split: str, defaults: tuple[str, ...]) -> str:
    """The problem to report where `find_list` finds no file."""
    looked_for = options.lists.get(split) or " or ".join(defaults)
    return (
        f"split {split}: list file {looked_for} is not in {options.source};"
        f" name it with --{split}_list=FILE, or leave the split out with --splits"
    )


def read_list(path: pathlib.Path) -> list[tuple[int, str, str]]:
    """(line number, image, depth) of each line; the depth may be the word None.

    Raises:
      UserError: the file cannot be read, or a line holds one word only.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"list file {path} cannot be read ({error}); replace it") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) == 1:
            raise UserError(f"list file {path}, line {number}: expected 'image depth', got 1 word")
        if fields:
            # The lists of NYU write paths with a slash in front.
            entries.append((number, fields[0].lstrip("/"), fields[1].lstrip("/")))
    return entries


def resolve(candidates: list[pathlib.Path], what: str, found: Found) -> pathlib.Path | None:
    """The first candidate that exists; if none exists, the first is reported as missing."""
    for path in candidates:
        if path.is_file():
            return path
    found.problems.append(f"{what}: {candidates[0]} is missing")
    return None
