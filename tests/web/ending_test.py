"""The page's program ends at once when it is told to, even in the middle of a prediction."""

import signal
import time

import pytest

from tests.support import small_model, uploads
from tests.support.visitors import Visitor, running_page, stored


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_prediction_and_deletes_the_photos(tmp_path, number):
    pytest.importorskip("gradio")
    small_model.save(tmp_path / "model")
    folder = tmp_path / "temporary"
    folder.mkdir()
    with running_page(tmp_path / "model", folder) as (process, address):
        visitor = Visitor(address)
        photo = visitor.upload(uploads.photo_file(tmp_path))
        visitor.join([stored(photo), 20, 16, 0, 60, None])
        next(each for each in visitor.messages() if each["msg"] == "process_starts")
        time.sleep(1)  # then it compiles, which takes several seconds
        assert list(folder.glob("diffdepth_jax_*"))
        process.send_signal(number)
        assert process.wait(10) == 0
    assert not list(folder.glob("diffdepth_jax_*"))
