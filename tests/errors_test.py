"""Texts with names of files are safe to print."""

import pytest

from diffdepth_jax.errors import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b é 中 ̈ 👩‍👦.jpg", "a b é 中 ̈ 👩‍👦.jpg"),
        ("\x1b[31mred\n\r\t\x00\x7f\x9b", r"\x1b[31mred\n\r\t\x00\x7f\x9b"),
        ("caf\udce9", r"caf\udce9"),
        ("a\u202egpj.exe\u2066\u2028", r"a\u202egpj.exe\u2066\u2028"),
    ],
)
def test_what_would_move_the_cursor_or_end_the_line_is_escaped(text, expected):
    assert printable(text) == expected
