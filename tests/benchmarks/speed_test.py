"""The benchmark of speed: what it counts, how it takes turns, what it keeps."""

import io
import itertools
import json
import types

import jax
import pytest

from benchmarks import speed, speed_ours, speed_rows, speed_worker
from benchmarks.flops import count_multiply_adds
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.variables import abstract_variables
from tests.support.paths import ROOT

ROW = speed_rows.Row("swin_micro", (48, 64), 1, 1, "predict")


def test_rows_are_all_combinations_and_chosen_by_words():
    rows = speed_rows.all_rows()
    assert len({row.name for row in rows}) == len(rows) == 4 * 3 * 3 * 2 * 2
    chosen = speed_rows.select(rows, ["released", "steps20", "train"])
    assert len(chosen) == 3 * 2 and all("released" in row.name for row in chosen)
    assert ROW.name == "swin_micro 48x64 steps1 batch1 predict"


@pytest.mark.parametrize("architecture", speed_rows.ARCHITECTURES)
def test_rows_are_the_configurations_that_they_name(architecture):
    row = speed_rows.Row(architecture, (228, 304), 5, 8, "train")
    config = speed_rows.create_config(row, "bfloat16")
    backbone = {"released": "swin_large"}.get(architecture, architecture)
    assert (config.model.backbone, config.model.dtype) == (backbone, "bfloat16")
    assert (config.model.denoiser == "released") == (architecture == "released")
    assert config.sampler.num_steps == 5 and config.sampler.remat
    request = speed.peer_request(row, "eager")
    assert json.loads(json.dumps(request))["fields"]["model"]["backbone"] == backbone
    assert len(request["fields"]["timesteps"]) == 5


def test_values_and_inputs_are_the_same_in_every_process():
    kernel = speed_rows.leaf_values("params/a/kernel", 2)
    assert kernel == pytest.approx([-0.03403595, 0.09602246])  # in this process and that
    assert (speed_rows.leaf_values("params/a/scale", 5) == 1).all()
    inputs = speed_rows.create_inputs(2, (6, 8), (3, 4, 5))
    assert inputs["noise"].shape == (2, 3, 4, 5)
    assert ((inputs["depth"] > 0) == inputs["mask"]).all()


# Multiply-adds


def resize(low, high, channels):
    """Of a square map, an axis at a time, as a product with all of the axis."""
    return high * low * low * channels + high * high * low * channels


def backbone_by_hand(side, width, window):
    """Two blocks a stage, of maps that the windows divide; (multiply-adds, widths, sides)."""
    total = side**2 * (4 * 4 * 3 + 14) * width
    widths = [width * 2**stage for stage in range(4)]
    sides = [side // 2**stage for stage in range(4)]
    for stage, (side, width) in enumerate(zip(sides, widths, strict=True)):
        total += (side**2 * 2 * width**2) if stage else 0  # 4 C' to 2 C', C' = C / 2
        dense, attention = 12 * width**2, 2 * window**2 * width
        total += 2 * side**2 * (dense + attention)
        total += 2 * 3 * width**2  # query, key and value of a zero, see `WindowAttention`
    return total, widths, sides


def predict_by_hand(model, side, num_steps):
    """Of a square image, whose latent has the side `side`."""
    total, widths, sides = backbone_by_hand(side // 2, 48, model.window_size)
    f, c, d, w = (
        model.neck_features,
        model.denoiser_features,
        model.latent_channels,
        model.decoder_width,
    )
    total += sum(9 * n**2 * width * f for n, width in zip(sides, widths, strict=True))
    total += sum(4 * n**2 * f * f for n in sides[1:])  # 2x2 kernels
    total += sum(n**2 * f * c for n in sides)
    total += sum(resize(n, sides[0], c) for n in sides[1:]) + resize(sides[0], side, c)
    total += 9 * side**2 * (3 * c + c * c)  # of the image, of the condition
    cells = side // 8
    step = 2 * c**2 + 2 * c**2  # time
    step += 9 * side**2 * (d * c + 2 * c * c + c * d) + 2 * side**2 * c * c
    step += cells**2 * 4 * c * c + 2 * cells**4 * c + resize(cells, side, c)
    padded = side + 2
    decoder = side**2 * d * w + padded**2 * 4 * w * 4 * (w // 2) + (2 * padded) ** 2 * 9 * (w // 2)
    return total + num_steps * step + decoder


@pytest.mark.parametrize("num_steps", [1, 20])
def test_multiply_adds_of_prediction_are_those_counted_by_hand(num_steps):
    """But for the kernels of transposed convolutions, which are laid out by a product."""
    config = speed_rows.create_config(speed_rows.Row("swin_micro", (128, 128), num_steps, 1, ""))
    model, program, _ = speed_ours.create_program(config, "predict")
    image = jax.ShapeDtypeStruct((1, 128, 128, 3), "float32")
    noise = jax.ShapeDtypeStruct((1, *model.latent_shape(128, 128)), "float32")
    counted = count_multiply_adds(program, abstract_variables(model), image, noise)
    by_hand = predict_by_hand(config.model, 64, num_steps)
    assert 0 <= counted - by_hand <= 2e-3 * by_hand


# Turns, table, file


class FakeProcess:
    """A side whose every call takes a given time."""

    calls: list = []  # noqa: RUF012
    times = {"ours": 0.1, "torch": 0.4}  # noqa: RUF012
    failing = None
    devices = {"cpu": 1}  # noqa: RUF012

    def __init__(self, side, cores):
        self.side, self.form = side, side

    def ask(self, do, **command):
        if do == "prepare":
            self.form = command["request"].get("form", "ours")
        self.calls.append((self.form, do))
        return {"error": "no"} if self.form == self.failing else getattr(self, do)(**command)

    def prepare(self, request):
        seconds = self.times[self.side]
        facts = {"first_seconds": 3 + seconds, "second_seconds": seconds, "probe": [1.0, 2.0]}
        if self.side == "ours":
            facts["environment"] = {"backend": "cpu", "devices": self.devices, "commit": "c0"}
            facts["on_accelerator"] = False
            facts["xla_bytes"] = {"temporary": speed.GIB}
        return facts

    def time(self, calls):
        return {"seconds": [self.times[self.side]] * calls}

    def product(self):
        return {"flops": 1e11}

    def finish(self):
        if self.side == "ours":
            return {"peak_bytes": speed.GIB, "resident_bytes": 0, "multiply_adds": 10**9}
        return {"peak_bytes": 4 * speed.GIB, "resident_bytes": 0}

    def close(self):
        self.calls.append((self.form, "close"))


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(speed, "Process", FakeProcess)
    monkeypatch.setattr(FakeProcess, "calls", [])
    return FakeProcess


ONE = ["--only=swin_micro,steps1,batch1,predict", "--size=48x64", "--rounds=2"]


def test_sides_take_turns_and_the_table_has_their_ratios(fake, capsys):
    speed.main([*ONE, "--peer"])
    table = capsys.readouterr().out
    line = table.splitlines()[1].removeprefix("swin_micro 48x64 steps1 batch1 predict").split()
    # 2 GFLOP in 0.1 s are a fifth of 1e11 a second
    assert line[:7] == ["100.0", "10.00", "3.0", "1.00", "1.00", "2.0", "20.0%"]
    assert line[7:] == ["0.25", "0.25"] * 3
    assert "differs by 0.0e+00 of its range" in table
    turns = [form for form, do in fake.calls if do in ("time", "close")]
    series = (["ours", form, form, "ours", form] for form in speed.CPU_FORMS)  # last it closes
    assert turns == [*itertools.chain(*series), "ours"]


def test_ratios_are_of_the_turns_that_alternated(fake, monkeypatch, capsys):
    """Ours is slower beside the second form: its ratio alone shows it."""
    slow = {"ours": 0.2, "torch": 0.4}

    def time(self, calls):
        times = slow if prepared(self.calls) == ("channels_last", "prepare") else self.times
        return {"seconds": [times[self.side]] * calls}

    def prepared(calls):
        return [call for call in calls if call[1] == "prepare"][-1]

    monkeypatch.setattr(fake, "time", time)
    speed.main([*ONE, "--peer"])
    line = capsys.readouterr().out.splitlines()[1].split()
    assert line[-6::2] == ["0.25", "0.50", "0.25"]


def test_rows_of_the_file_are_measured_again_only_for_a_peer(fake, tmp_path, capsys):
    output = f"--output={tmp_path / 'speed.json'}"
    for arguments, count in (([], 1), ([], 1), (["--peer"], 5), (["--peer"], 5), ([], 5)):
        speed.main([*ONE, output, *arguments])
        assert sum(do == "prepare" for _, do in fake.calls) == count
    report = json.loads((tmp_path / "speed.json").read_text())
    assert report["environment"]["devices"] == {"cpu": 1}
    facts = report["rows"][ROW.name]
    cores = len(speed.parse_cores(""))
    assert (facts["commit"], facts["rounds"], facts["cores"]) == ("c0", 2, cores)
    assert len(report["rows"][ROW.name]["sides"]["ours"]["seconds"]) == 3 * 2 * 5


@pytest.mark.parametrize("file", ["speed.json", "speed_xeon.json"])
def test_the_page_shows_the_table_of_its_file(file):
    docs = ROOT / "docs"
    rows = json.loads((docs / file).read_text())["rows"]
    assert rows and speed.format_table(rows) in (docs / "speed.md").read_text()


def test_what_fails_is_in_the_table(fake, monkeypatch, capsys):
    monkeypatch.setattr(fake, "failing", "compiled")
    speed.main([*ONE, "--peer"])
    table = capsys.readouterr().out
    assert "failed" in table and "compiled: no" in table and "0.25" in table
    monkeypatch.setattr(fake, "failing", "ours")
    speed.main([*ONE, "--peer"])
    assert "no" in capsys.readouterr().out.splitlines()[1]


def test_rows_of_other_devices_are_refused(fake, tmp_path, monkeypatch):
    output = f"--output={tmp_path / 'speed.json'}"
    speed.main([*ONE, output])
    monkeypatch.setattr(fake, "devices", {"gpu": 1})
    with pytest.raises(UserError, match="name another --output"):
        speed.main(["--only=swin_micro,steps5,batch1,predict", "--size=48x64", output])


def test_rows_of_which_a_side_failed_are_measured_again(fake, tmp_path, monkeypatch):
    arguments = [*ONE, "--peer", f"--output={tmp_path / 'speed.json'}"]
    monkeypatch.setattr(fake, "failing", "compiled")
    speed.main(arguments)
    monkeypatch.setattr(fake, "failing", None)
    fake.calls.clear()
    speed.main(arguments)
    assert ("compiled", "prepare") in fake.calls
    fake.calls.clear()
    speed.main(arguments)
    assert not fake.calls


def test_a_cpu_beside_an_accelerator_is_refused():
    cpu, accelerator = {"on_accelerator": False}, {"on_accelerator": True}
    speed.check_same_kind(cpu, dict(cpu))
    speed.check_same_kind({"error": "no"}, cpu)  # which the table shows
    with pytest.raises(UserError, match="JAX computes on the CPU, PyTorch on an accelerator"):
        speed.check_same_kind(cpu, accelerator)


@pytest.mark.parametrize(
    "flag",
    ["--only=swin_huge", "--size=48", "--size=ax7", "--rounds=0", "--cores=0,x", "--cores=999"],
)
def test_unknown_rows_sizes_rounds_and_cores_are_refused(flag):
    with pytest.raises(UserError, match=flag.partition("=")[2]):
        speed.main([flag])


# Workers


def test_a_worker_answers_each_command_and_failures_too():
    def fail():
        raise MemoryError("too large")

    side = types.SimpleNamespace(
        call=lambda: None,
        facts=lambda: {"dtype": "float32"},
        reset_memory=lambda: None,
        device_memory=lambda: None,
        late_facts=lambda: {"multiply_adds": 7},
    )
    module = types.SimpleNamespace(Side=lambda: side, product=fail)
    commands = [
        {"do": "prepare", "request": {}},
        {"do": "time", "calls": 3},
        {"do": "product"},
        {"do": "finish"},
    ]
    answers = io.StringIO()
    speed_worker.serve(speed_worker.Worker(module), map(json.dumps, commands), answers)
    prepared, timed, product, last = map(json.loads, answers.getvalue().splitlines())
    assert prepared["dtype"] == "float32" and prepared["first_seconds"] >= 0
    assert len(timed["seconds"]) == 3
    assert product == {"error": "MemoryError: too large"}
    assert last["peak_bytes"] > 2**20 and last["resident_bytes"] > 2**20
    assert last["multiply_adds"] == 7


def test_the_high_water_mark_of_memory_falls_and_rises():
    block = bytearray(2**28)
    block[::4096] = b"x" * len(block[::4096])
    with_block = speed_worker.process_memory("VmHWM")
    del block
    speed_worker.reset_high_water()
    assert speed_worker.process_memory("VmHWM") < with_block - 2**27


@pytest.mark.slow
def test_our_side_in_a_process_of_its_own():
    process = speed.Process("ours", sorted(speed.os.sched_getaffinity(0))[:1])
    facts = process.ask(do="prepare", request={"row": ROW.__dict__})
    assert facts.get("error") is None
    assert len(facts["probe"]) == 64
    assert facts["environment"]["backend"] == jax.default_backend()
    assert len(process.ask(do="time", calls=2)["seconds"]) == 2
    assert process.ask(do="product")["flops"] > 0
    last = process.ask(do="finish")
    assert last["peak_bytes"] > last["resident_bytes"] > 0 and last["multiply_adds"] > 0
    assert "error" in process.ask(do="time", calls="two")
    assert "error" in process.ask(do="product")  # what failed stays so
    process.close()


def test_a_process_that_ends_is_a_failure():
    process = speed.Process("nobody", [0])
    assert process.ask(do="product") == {"error": "ended: status 1"}
    process.close()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["swin_micro"])
def test_both_sides_of_a_row_compute_the_same(architecture, capsys):
    pytest.importorskip("torch", reason="PyTorch, which is not among the requirements")
    for task in ("predict", "train"):
        only = f"--only={architecture},steps1,batch1,{task}"
        speed.main(["--peer", "--size=48x64", "--rounds=1", only])
        table = capsys.readouterr().out
        assert "failed" not in table and "error" not in table.lower()
        if task == "predict":
            assert float(table.split("differs by ")[1].split()[0]) < 1e-4
