"""One deadline for a whole call to a Google service, retries included.

The retries of Google's clients are switched off in its favour. They apply the timeout to each attempt (a call with
`timeout=5` can take 10 s) and go on for up to 600 s, which is longer than a lease lasts: the worker would write when
another one already holds the lease.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from functions.domain import errors

FIRST_BACKOFF_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 1.0

Answer = TypeVar("Answer")


def call_within(seconds: float, service: str, call: Callable[[float], Answer]) -> Answer:
    """Return what `call` returns; it is given the seconds that are left, and is retried while the service is busy.

    The pause between two attempts doubles and is chosen at random below that, so that callers that were refused
    together do not retry together.

    Raises errors.Unavailable when the time is over (the outcome is then unknown), and ValueError for what the service
    calls an invalid argument. Every other error of the service is passed on.
    """
    from google.api_core import exceptions

    retryable = (
        exceptions.Aborted,
        exceptions.InternalServerError,
        exceptions.ResourceExhausted,
        exceptions.ServiceUnavailable,
    )
    deadline = time.monotonic() + seconds
    max_pause = FIRST_BACKOFF_SECONDS
    while True:
        try:
            return call(deadline - time.monotonic())
        except retryable as error:
            pause = random.uniform(0, max_pause)
            if time.monotonic() + pause >= deadline:
                raise errors.Unavailable(f"{service} did not answer within {seconds:g} s. Try again.") from error
        except (exceptions.Cancelled, exceptions.DeadlineExceeded, exceptions.Unknown) as error:
            raise errors.Unavailable(f"{service} did not answer within {seconds:g} s. Try again.") from error
        except exceptions.InvalidArgument as error:
            raise ValueError(error.message) from error
        time.sleep(pause)
        max_pause = min(2 * max_pause, MAX_BACKOFF_SECONDS)


def no_retries() -> Any:
    """Make a retry policy that never retries.

    `retry=None` does not work: Firestore's client calls a method of the policy when a stream breaks.
    """
    from google.api_core.retry import Retry

    return Retry(predicate=lambda _: False)
