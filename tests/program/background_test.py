"""Work in threads changes neither the order of items nor who learns of an error."""

import threading

import pytest

from diffdepth_jax.program.background import in_background


def test_items_keep_their_order_however_long_each_takes():
    first_may_end = threading.Event()

    def work(number):
        if number == 0:
            first_may_end.wait(60)
        elif number == 1:
            first_may_end.set()  # so the second begins before the first ends
        return number**2

    found = [(item, future.result()) for item, future in in_background(work, range(7), threads=2)]
    assert found == [(number, number**2) for number in range(7)]


def test_few_items_are_made_before_one_is_yielded():
    made = []

    def items():
        for number in range(9):
            made.append(number)
            yield number

    for item, _ in in_background(str, items(), threads=2):
        assert len(made) <= item + 3


def test_an_error_belongs_to_its_item_and_the_others_are_worked_on():
    def work(number):
        return 1 / number

    outcomes = [future.exception() for _, future in in_background(work, [1, 0, 2], threads=2)]
    assert [type(outcome) for outcome in outcomes] == [type(None), ZeroDivisionError, type(None)]


def test_who_stops_early_waits_for_what_was_begun():
    begun, ended = [], []

    def work(number):
        begun.append(number)
        ended.append(number)

    def items():
        yield from range(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(in_background(work, items(), threads=4))
    assert sorted(ended) == sorted(begun) == [0, 1, 2]
