"""When there is another try, by a clock that the test turns."""

from __future__ import annotations

import time

import pytest

from taffrail import Refused, Unavailable
from taffrail.retry import LAST_PAUSE, Retries


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_pauses_double_up_to_a_limit_and_begin_anew_with_progress() -> None:
    retries = Retries(None)
    away = Unavailable("away")
    pauses = [retries.pause(away) for _ in range(20)]
    for number, pause in enumerate(pauses):
        longest = min(0.02 * 2**number, LAST_PAUSE)
        assert longest / 2 <= pause <= longest
    retries.progress()
    assert retries.pause(away) <= 0.02
    assert retries.pause(Unavailable("away", retry_after=7)) == 7


def test_there_is_no_other_try_when_the_time_is_over_and_the_whole_time_again_behind_that(clock: Clock) -> None:
    retries = Retries(10)
    away = Unavailable("away")
    for _ in range(2):
        # The time for failures begins with the first failure, however long the program made no call before.
        clock.now += 1000
        retries.pause(away)
        clock.now += 9
        retries.pause(away)
        retries.progress()
        retries.pause(away)
        clock.now += 9
        retries.pause(away)
        clock.now += 2
        with pytest.raises(Unavailable):
            retries.pause(away)


def test_what_was_refused_is_not_tried_again_but_for_want_of_room() -> None:
    retries = Retries(None)
    with pytest.raises(Refused):
        retries.pause(Refused("no", reason="UNKNOWN_TOPIC"))
    retries.pause(Refused("full", reason="DISK_FULL"))


def test_a_refusal_that_says_when_it_will_have_passed_is_waited_for_if_there_is_time() -> None:
    retries = Retries(10)
    assert retries.pause(Refused("too much", reason="QUOTA_EXCEEDED", retry_after=7)) == 7
    for told in (11, None):
        with pytest.raises(Refused):
            retries.pause(Refused("too much", reason="QUOTA_EXCEEDED", retry_after=told))
