"""The page under many visitors at once, and under a few for a long time."""

import concurrent.futures
import contextlib
import json
import pathlib
import re
import threading
import time

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.web.hosts import Hosts
from diffdepth_jax.web.model_facts import ModelFacts
from diffdepth_jax.web.owned_files import OwnedFiles
from diffdepth_jax.web.upload_limits import Share, UploadLimits
from tests.support import uploads
from tests.support.visitors import Estimator, Visitor, message, running_page, stored

pytest.importorskip("gradio")
SIZES = ((640, 480), (1600, 1200), (4000, 3000))
VISITORS = 60
MINUTE = 0.3  # seconds of the test, for a minute
HOUR = 60 * MINUTE


def _photos(folder):
    """A photo of each size."""
    for width, height in SIZES:
        x, y = np.linspace(0, 255, width), np.linspace(0, 255, height)[:, None]
        image = np.stack([x + 0 * y, 0 * x + y, (x + y) / 2], axis=-1).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{width}.jpg")
        yield folder / f"{width}.jpg"


def _memory(process):
    """The resident memory of the program in MiB."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def _until_answered(visitor, photo, waits):
    """What a photo gets; whoever is told to wait does."""
    path = visitor.upload(photo)
    while True:
        status, body = visitor.join([stored(path), 1, 1, 0, 60, None])
        if status == 200:
            return visitor.answer()
        assert status == 503 and "Queue is full" in json.loads(body)["detail"]
        waits.append(visitor)
        time.sleep(1)


@pytest.mark.slow
def test_sixty_uploads_at_once_are_answered_or_told_to_wait(tmp_path):
    """Prints how many waited, and the memory."""
    (tmp_path / "temporary").mkdir()
    photos = list(_photos(tmp_path))
    with running_page("indoor_small", tmp_path / "temporary") as (process, address):
        for photo in photos:
            assert message(_until_answered(Visitor(address), photo, [])) == ""
        before, waits = _memory(process), []
        visitors = [Visitor(address, f"visitor{number}") for number in range(VISITORS)]
        together = threading.Barrier(VISITORS)

        def visit(number):
            together.wait()
            return _until_answered(visitors[number], photos[number % len(photos)], waits)

        with concurrent.futures.ThreadPoolExecutor(VISITORS) as pool:
            answers = list(pool.map(visit, range(VISITORS)))
        time.sleep(2)
        after = _memory(process)
    print(
        f"{len(answers)} of {VISITORS} answered, {len(set(waits))} of them told to wait first; "
        f"memory {before:.0f} MiB before, {after:.0f} MiB after"
    )
    assert all(re.search(r"\d m\*\*, median", str(answer)) for answer in answers)
    assert waits  # otherwise the queue was never full, and nothing was tested of it
    assert after <= 1.1 * before


@contextlib.contextmanager
def _page(folder):
    from diffdepth_jax.web import page
    from diffdepth_jax.web.uploads import Uploads

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        files, share = OwnedFiles(folder), Share(10**6, 10**12)
        received = Uploads(files, UploadLimits(share, share), max_size=10**7)
        created = page.create(Estimator(), files, received, ModelFacts("a model", "photos"))
        options = {"host": "127.0.0.1", "port": uploads.free_port()}
        yield files, page.serve(created, files, received, Hosts("127.0.0.1"), **options)
        created.close()


def _size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("one_session", [True, False])
def test_two_hours_of_a_request_a_minute_leave_the_disk_as_it_was(tmp_path, one_session):
    """Prints the disk's use; an hour lasts as many seconds as HOUR says.

    On a slow machine fewer requests fall into an hour: what is there may be that of those alone.
    """
    folder = tmp_path / "kept"
    folder.mkdir()
    photo, sizes, answered, limits = uploads.photo_file(tmp_path), [], [], []
    with _page(folder) as (files, address):
        visitor = Visitor(address)
        begin = time.monotonic()
        for minute in range(120):
            visitor = visitor if one_session else Visitor(address)
            visitor.estimate(stored(visitor.upload(photo)))
            answered.append(time.monotonic())
            files.sweep(HOUR)
            sizes.append(_size(folder))
            of_an_hour = sum(each >= answered[-1] - HOUR for each in answered)
            limits.append(1.05 * of_an_hour * sizes[0])
            time.sleep(max(0, begin + (minute + 1) * MINUTE - time.monotonic()))
        time.sleep(HOUR)
        files.sweep(HOUR)
    first, second = max(sizes[:61]), max(sizes[61:])
    print(f"disk: at most {first} bytes in the first hour, {second} in the second, then nothing")
    assert all(size <= limit for size, limit in zip(sizes, limits, strict=True))
    assert not list(folder.iterdir())
    assert not one_session or (first <= 3.5 * sizes[0] and second <= 1.05 * first)
