"""What a simulation finds."""


class Violated(BaseException):
    """A promise was broken: one sentence. No `except Exception` of the code under test may swallow it."""


def require(held: bool, sentence: str) -> None:
    if not held:
        raise Violated(sentence)
