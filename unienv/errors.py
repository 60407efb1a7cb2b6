"""What an error says, as the one line that a user reads."""

import gymnasium as gym


def name_of(env: gym.Env) -> str:
    """What an environment is called: its id, or else its class."""
    return env.spec.id if env.spec else type(env.unwrapped).__name__


def said(error: BaseException) -> str:
    """Its message."""
    return " ".join(str(error).split())


def named(error: BaseException) -> str:
    """Its class and its message, for errors whose message alone may say nothing: a KeyError's is only the key."""
    return " ".join(f"{type(error).__name__}: {error}".split())
