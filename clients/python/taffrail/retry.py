"""When to try again: pauses that double and differ from each other, and a budget of time that recovers."""

from __future__ import annotations

import random
import time

from taffrail.errors import TaffrailError, is_worth_another_try

FIRST_PAUSE = 0.02
LAST_PAUSE = 2.0


class Retries:
    """Decides after each failure whether there is another try, and how long to wait for it."""

    def __init__(self, give_up_after: float | None) -> None:
        """`give_up_after`: for how many seconds there may be nothing but failures; None: for ever."""
        self._give_up_after = give_up_after
        self.progress()

    def progress(self) -> None:
        """Notes a success: the whole time for failures is available again."""
        self._pause = FIRST_PAUSE
        #: Not the last progress: a program may take its time over what it was given.
        self._first_failure: float | None = None

    def pause(self, error: TaffrailError) -> float:
        """How long to wait before the next try. Raises the error if there is none, or not in time."""
        if not is_worth_another_try(error):
            raise error
        now = time.monotonic()
        if self._first_failure is None:
            self._first_failure = now
        asked = error.retry_after or 0
        if self._give_up_after is not None and now - self._first_failure + asked >= self._give_up_after:
            # The next call has the whole time again.
            self.progress()
            raise error
        # All clients of a broker lose it at the same moment, and should not all come back at the same one.
        pause = self._pause * random.uniform(0.5, 1)
        self._pause = min(2 * self._pause, LAST_PAUSE)
        return max(pause, asked)
