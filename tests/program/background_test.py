"""Work in threads changes neither the order of items nor who learns of an error."""

import threading
import time

import pytest

from diffdepth_jax.program.background import in_background


def test_items_keep_their_order_however_long_each_takes():
    first_may_end = threading.Event()

    def work(number):
        if number == 0:
            assert first_may_end.wait(60)  # until the second has begun: they run side by side
        elif number == 1:
            first_may_end.set()
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


class Slow:
    """Work that notes what it begins and what it ends."""

    def __init__(self):
        self.begun, self.ended = [], []

    def __call__(self, number):
        self.begun.append(number)
        time.sleep(0.2)
        self.ended.append(number)


def test_if_an_item_cannot_be_made_what_has_begun_is_ended_and_no_more():
    def items():
        yield from range(2)
        while len(work.begun) < 2:
            time.sleep(0.01)
        yield 2
        raise KeyboardInterrupt

    work = Slow()
    with pytest.raises(KeyboardInterrupt):
        list(in_background(work, items(), threads=2))
    assert sorted(work.ended) == [0, 1]


def test_whoever_stops_early_waits_for_what_has_begun():
    work = Slow()
    working = in_background(work, range(9), threads=2)
    next(working)
    working.close()
    assert work.begun and sorted(work.ended) == sorted(work.begun) and len(work.begun) < 4
