"""How a broken promise is reported."""


class Violation(BaseException):
    """A promise is broken; the message is one sentence.

    A BaseException, so that no `except Exception` of the code under test can swallow it.
    """


def require(condition: bool, message: str) -> None:
    """Raise Violation with `message` unless `condition` holds."""
    if not condition:
        raise Violation(message)
