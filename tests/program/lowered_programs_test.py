"""A kept program computes the same bits as the function that was traced, or it is not taken."""

import importlib.metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.program import compilation_cache, lowered_programs
from diffdepth_jax.program.lowered_programs import kept

X = np.linspace(-2, 3, 12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def directory(monkeypatch, tmp_path):
    monkeypatch.setattr(compilation_cache, "own_directory", lambda: tmp_path)
    return tmp_path / "lowered"


class _Counted:
    """Makes a jitted function, and counts how often it is traced."""

    def __init__(self):
        self.traced = 0

    def __call__(self):
        def function(tree, x, key, *, power=1):
            self.traced += 1
            noise = jax.random.normal(key, (len(x), 2))
            return {"y": jnp.tanh(x) ** power @ tree["a"]["w"] + noise}

        return jax.jit(function, static_argnames="power")


def _arguments(x=X):
    return {"a": {"w": np.ones((x.shape[1], 2), x.dtype)}}, x, jax.random.key(7)


def _call(create, identity, **static):
    return jax.device_get(kept(create, identity)(*_arguments(), **static))


def _refuse():
    raise AssertionError("traced")


def test_a_kept_program_gives_the_same_bits_and_traces_nothing(directory):
    expected = jax.device_get(_Counted()()(*_arguments(), power=3))
    first, again = (_call(create, "one", power=3) for create in (_Counted(), _refuse))
    np.testing.assert_equal([first, again], [expected, expected])
    (path,) = directory.iterdir()
    assert path.name.endswith("-cache") and directory.stat().st_mode & 0o777 == 0o700


def test_a_function_is_traced_once_for_each_kind_of_arguments(directory):
    create = _Counted()
    function = kept(create, "one")
    for _ in range(2):
        for power in (1, 2):
            function(*_arguments(), power=power)
        function(*_arguments(X[:2]))
        function(*_arguments(X.astype(np.float16)))
    assert create.traced == len(list(directory.iterdir())) == 4


def _other_identity(monkeypatch):
    return "two"


def _other_jax(monkeypatch):
    version = importlib.metadata.version
    newer = {"jax": "0.99.0"}
    monkeypatch.setattr(
        lowered_programs.importlib.metadata, "version", lambda name: newer.get(name, version(name))
    )
    return "one"


def _other_python(monkeypatch):
    monkeypatch.setattr(lowered_programs.platform, "python_version", lambda: "3.99.0")
    return "one"


def _other_source(monkeypatch):
    monkeypatch.setattr(lowered_programs, "_source", lambda: "edited")
    return "one"


def _other_precision(monkeypatch):
    values = {**jax.config.values, "jax_default_matmul_precision": "highest"}
    monkeypatch.setattr(type(jax.config), "values", values)
    return "one"


@pytest.mark.parametrize(
    "change", [_other_identity, _other_jax, _other_python, _other_source, _other_precision]
)
def test_what_was_traced_by_another_program_is_not_taken(directory, monkeypatch, change):
    _call(_Counted(), "one")
    create = _Counted()
    _call(create, change(monkeypatch))
    assert create.traced == 1 and len(list(directory.iterdir())) == 2


def _truncated(content):
    return content[: len(content) // 2]


def _flipped(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [_truncated, _flipped, lambda _: b"", lambda _: b"x" * 100])
def test_a_damaged_file_is_traced_anew_and_replaced(directory, damage):
    expected = _call(_Counted(), "one")
    (path,) = directory.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    for create in (_Counted(), _refuse):
        np.testing.assert_equal(_call(create, "one"), expected)


def test_the_file_of_another_program_is_not_taken_under_this_name(directory):
    _call(_Counted(), "one", power=2)
    (other,) = directory.iterdir()
    expected = _call(_Counted(), "one")
    (path,) = set(directory.iterdir()) - {other}
    path.write_bytes(other.read_bytes())
    np.testing.assert_equal(_call(_Counted(), "one"), expected)


def test_what_cannot_be_written_is_told_once(directory, caplog):
    lowered_programs._warn.cache_clear()
    directory.write_text("in the place of the folder")
    expected = jax.device_get(_Counted()()(*_arguments()))
    np.testing.assert_equal(_call(_Counted(), "one"), expected)
    _call(_Counted(), "two")
    (record,) = caplog.records
    assert record.getMessage().startswith("a traced program could not be kept (File exists); JAX_")


def test_where_programs_are_not_kept_the_function_is_as_it_was(monkeypatch):
    monkeypatch.setattr(compilation_cache, "own_directory", lambda: None)
    function = jax.jit(jnp.sin)
    assert kept(lambda: function, "one") is function


def test_a_program_with_functions_of_lapack_is_kept(directory):
    """It needs SciPy, which other programs do without."""
    matrix = np.array([[4, 2], [2, 5]], np.float32)
    factor = np.array([[2, 0], [1, 2]])  # times its transpose: the matrix
    for create in (lambda: jax.jit(jnp.linalg.cholesky), _refuse):
        np.testing.assert_allclose(kept(create, "lapack")(matrix), factor, rtol=1e-6)


def test_the_source_is_all_of_the_package(monkeypatch, tmp_path):
    def digest():
        return lowered_programs._source.__wrapped__()

    monkeypatch.setattr(lowered_programs, "_PACKAGE", tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/a.py").write_text("x = 1")
    first = digest()
    (tmp_path / "models/a.py").write_text("x = 2")
    second = digest()
    (tmp_path / "models/a.py").rename(tmp_path / "models/b.py")
    assert len({first, second, digest()}) == 3
