"""Play an environment by hand: a page that shows what an agent perceives, takes actions and tells what came of them.

Modalities can be hidden, and episodes are counted by what was seen in them: so a person feels what each is worth.
"""

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from experiments.config import parse
from experiments.game import Game, page
from experiments.server import PageServer
from unienv.adapt import make_env


@dataclass
class PlayConfig:
    """One sitting."""

    study: str = "play"
    env: dict[str, Any] = field(default_factory=lambda: {"id": "match"})
    seed: int = 0
    port: int = 0  # of 127.0.0.1; 0 for any that is free
    json: bool = False  # whether the last line of output is one JSON object


CONFIG = PlayConfig


def prepare(arguments: list[str]) -> tuple[PlayConfig, None]:
    """A checked configuration and no folder; the game is set up once, so that mistakes show here."""
    config = parse(arguments, PlayConfig)
    _game(config).env.close()
    return config, None


def run(config: PlayConfig, folder: None, console: Console) -> dict[str, Any]:
    """Serve the page until Ctrl-C; the summary holds the tally."""
    del folder
    game = _game(config)
    game.reset({})
    acts = {"/step": game.step, "/reset": game.reset, "/show": game.show}
    try:
        with PageServer(page(str(config.env["id"]), game), {"/state": game.state}, acts, config.port) as server:
            console.print(f"play at {server.url}, end with Ctrl-C", soft_wrap=True)
            server.serve_forever()
    except KeyboardInterrupt:
        console.print()
    finally:
        game.env.close()
    for row in game.tally():
        console.print(f"{row['seen']}: {row['successes']} of {row['episodes']} episodes succeeded", soft_wrap=True)
    return {"env": config.env["id"], "tally": game.tally()}


def _game(config: PlayConfig) -> Game:
    parameters = {key: value for key, value in config.env.items() if key != "id"}
    return Game(make_env(str(config.env["id"]), **parameters), config.seed)
