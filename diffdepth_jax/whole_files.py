"""Files that are written whole or not at all."""


def write_whole(path, write):
    """Calls `write(path)` on another name, which becomes this one when it is done."""
    unfinished = path.with_name(f"{path.stem}.unfinished{path.suffix}")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
