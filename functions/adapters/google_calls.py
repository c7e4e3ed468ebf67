"""One deadline for a call to a Google service, repeats included.

The clients' own retries are switched off in its favour: theirs restart the clock (`timeout=5` may take 10 s) and go
on for up to 600 s, which outlasts any lease.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from functions.domain import errors

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0

Answer = TypeVar("Answer")


def answer_within(seconds: float, service: str, call: Callable[[float], Answer]) -> Answer:
    """`call` is given the seconds left, and made again with jitter while the service says to come back.

    Raises errors.Unavailable when the time is over, ValueError for what the service calls an invalid argument. Every
    other refusal of the service passes as it is.
    """
    from google.api_core import exceptions

    come_back = (
        exceptions.Aborted,
        exceptions.InternalServerError,
        exceptions.ResourceExhausted,
        exceptions.ServiceUnavailable,
    )
    deadline = time.monotonic() + seconds
    longest = FIRST_PAUSE_SECONDS
    while True:
        try:
            return call(deadline - time.monotonic())
        except come_back as error:
            pause = random.uniform(0, longest)
            if time.monotonic() + pause >= deadline:
                raise errors.Unavailable(f"{service} did not answer within {seconds:g} s.") from error
        except (exceptions.Cancelled, exceptions.DeadlineExceeded, exceptions.Unknown) as error:
            raise errors.Unavailable(f"{service} did not answer within {seconds:g} s.") from error
        except exceptions.InvalidArgument as error:
            raise ValueError(error.message) from error
        time.sleep(pause)
        longest = min(2 * longest, LONGEST_PAUSE_SECONDS)


def never() -> Any:
    """A retry policy without retries; None will not do, as Firestore's client asks the policy when a stream breaks."""
    from google.api_core.retry import Retry

    return Retry(predicate=lambda _: False)
