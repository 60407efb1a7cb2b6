"""What an error says, as the one line that a user reads."""


def said(error: BaseException) -> str:
    """Its message."""
    return " ".join(str(error).split())


def named(error: BaseException) -> str:
    """Its class and its message, for errors whose message alone may say nothing: a KeyError's is only the key."""
    return " ".join(f"{type(error).__name__}: {error}".split())
