"""Games for tests, at their start and behind a server."""

import threading
from contextlib import contextmanager

from experiments.game import Game, page
from experiments.server import PageServer
from unienv.actions import Actions, batch_of_one
from unienv.adapt import make_env

JSON = {"Content-Type": "application/json"}
WORLDS = ["match", "goto", "describe", "chase", "rules", "manual", "terminal"]


def started(name, seed=0, **parameters):
    game = Game(make_env(name, **parameters), seed)
    game.reset({})
    return game


@contextmanager
def served(game):
    acts = {"/step": game.step, "/reset": game.reset, "/show": game.show}
    with PageServer(page("a <game>", game), {"/state": game.state}, acts) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def best(env):
    """The oracle's action as the row of whole numbers that a page sends."""
    return Actions(env.action_space).split(batch_of_one(env.unwrapped.oracle()))[0].tolist()
