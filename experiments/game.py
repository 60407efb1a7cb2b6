"""Game: one environment and a person who plays it, in terms that a page understands."""

import base64
import enum
import inspect
import io
import json
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from PIL import Image

from experiments.page import fill
from unienv.actions import Actions, batch_of_one
from unienv.actions import row as row_of
from unienv.env import WorldEnv
from unienv.modality import IMAGE, TEXT, VIDEO, check_modalities
from unienv.sprites import COLOURS

_TEMPLATE = Path(__file__).with_name("play.html")
_COLOURS = {name: "#{:02x}{:02x}{:02x}".format(*rgb) for name, rgb in COLOURS.items()}
_LABELLED = 64  # choices that a page has room for
_KEPT = 12  # latest steps of an episode that are told

Request = dict[str, Any]
Answer = dict[str, Any]


class Game:
    """One environment, its present episode and the tally of those before.

    Requests and answers are JSON objects. An action is a row of whole numbers from 0, one a part of the action space.

    Args:
        env: as `unienv.adapt.make_env` returns it.
        seed: of the first episode; the others follow from it.

    Raises:
        ValueError: one line, for an action space that is not made of choices.
    """

    def __init__(self, env: gym.Env, seed: int) -> None:
        self.env, self._seed = env, seed
        self._actions = Actions(env.action_space)
        self._vocabulary = env.get_wrapper_attr("vocabulary")
        self.modalities = tuple(check_modalities(env.observation_space, type(env.unwrapped).__name__))
        self.groups = self._groups()
        self._shown = set(self.modalities)
        self._counts: dict[tuple[str, ...], list[int]] = {}  # modalities seen -> episodes, successes

    def reset(self, request: Request) -> Answer:
        """Begin the next episode; one that was not over is not counted."""
        del request
        self._observation, _ = self.env.reset(seed=self._seed)
        self._seed = None
        self._seen = set(self._shown)
        self._steps: list[dict[str, Any]] = []
        self._return, self._over = 0.0, None
        return self.state()

    def step(self, request: Request) -> Answer:
        """Act: {"action": [0, ..]}."""
        if self._over:
            raise ValueError("the episode is over; begin the next one")
        row = self._check(request.get("action"))
        action = row_of(self._actions.join(np.array([row], np.int64)), 0)
        self._observation, signal, terminated, truncated, info = self.env.step(action)
        self._return += float(signal)
        told = {"action": self._name(action) or "nothing", "feedback": self._told(info)}
        self._steps.append(told | {"signal": _plain(float(signal))})
        if terminated or truncated:
            self._over = {"success": bool(info["success"]), "truncated": not terminated}
            counts = self._counts.setdefault(tuple(name for name in self.modalities if name in self._seen), [0, 0])
            counts[:] = counts[0] + 1, counts[1] + self._over["success"]
        return self.state()

    def show(self, request: Request) -> Answer:
        """Choose what is shown from now on: {"shown": ["text", ..]}."""
        shown = request.get("shown")
        if not isinstance(shown, list) or any(name not in self.modalities for name in shown):
            raise ValueError(f"expected as 'shown' a list of some of {', '.join(self.modalities)}")
        self._shown = set(shown)
        if not self._over:
            self._seen |= self._shown
        return self.state()

    def state(self) -> Answer:
        """All that changes on the page; what is hidden is not in it."""
        return {
            "observation": {name: self._seen_as(name) for name in self.modalities if name in self._shown},
            "over": self._over,
            "return": _plain(self._return),
            "step": len(self._steps),
            "steps": self._steps[-_KEPT:],
            "tally": self.tally(),
        }

    def tally(self) -> list[dict[str, Any]]:
        """Episodes and successes by what was seen."""
        rows = sorted(self._counts.items(), key=lambda row: (-len(row[0]), row[0]))
        return [{"seen": _list(seen), "episodes": n, "successes": won} for seen, (n, won) in rows]

    def _groups(self) -> list[dict[str, Any]]:
        """Parts of the action that belong together, and how the page asks for them.

        Each is a dict: name; sizes, the choices of each part; labels of the choices; and `grid`, the rows and columns
        of the cells where a choice is a cell of the image.
        """
        groups = []
        for owner in dict.fromkeys(self._actions.owners):
            sizes = [n for n, key in zip(self._actions.nvec, self._actions.owners, strict=True) if key == owner]
            labels = self._labels(owner, sizes)
            groups.append({"name": owner, "sizes": sizes, "labels": labels, "grid": self._grid(owner, sizes)})
        return groups

    def _labels(self, owner: str, sizes: list[int]) -> list[str] | None:
        """What choices are called: as words, by the environment, or by their numbers; None where these are too many."""
        most, words = max(sizes), ("", *self._vocabulary.words)
        if owner == TEXT and most <= len(words):
            return list(words[:most])
        if most > _LABELLED:
            return None
        if owner or min(sizes) < most:
            return [str(i) for i in range(most)]
        return [self._label(i, len(sizes)) for i in range(most)]

    def _label(self, choice: int, count: int) -> str:
        """What one choice is called: the word that is said `count` times where all parts are it."""
        told = self._name(row_of(self._actions.join(np.full((1, count), choice)), 0))
        words = told.split()
        if count == 1 or not words:
            return told
        return words[0] if words == [words[0]] * count else str(choice)

    def _name(self, action: Any) -> str:
        """An action in words, "" where it says nothing."""
        played = self.env.unwrapped
        if isinstance(played, WorldEnv):
            told, names = played.world.name_action(action), played.world.action_names
        else:
            row, names = self._actions.split(batch_of_one(action))[0].tolist(), _enumerated(played)
            told = names[row[0]] if len(names) == self._actions.count else " ".join(map(str, row))
        return f"action {told}" if told.isdecimal() and not names else told

    def _grid(self, owner: str, sizes: list[int]) -> tuple[int, int] | None:
        """(rows, columns) of square cells that the image consists of, as many as there are choices."""
        if owner != IMAGE or len(sizes) > 1 or IMAGE not in self.modalities:
            return None
        height, width, _ = self.env.observation_space[IMAGE].shape  # type: ignore[index]
        rows = math.isqrt(sizes[0] * height // width)
        squares = rows and sizes[0] % rows == 0 and rows * width == sizes[0] // rows * height
        return (rows, sizes[0] // rows) if squares else None

    def _check(self, row: Any) -> list[int]:
        sizes = self._actions.nvec
        fits = isinstance(row, list) and len(row) == len(sizes)
        if not fits or any(type(i) is not int or not 0 <= i < n for i, n in zip(row, sizes, strict=True)):
            told = ", ".join(map(str, sizes))
            raise ValueError(
                f"expected as 'action' a list of whole numbers from 0 and below {told}; got {repr(row)[:60]}"
            )
        return row

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        """Feedback by part, and what the signal rule discloses."""
        if not isinstance(self.env.unwrapped, WorldEnv):
            return {"success": info["success"]}
        disclosed = {name: self._name(info[name]) for name in ("label", "alternative") if name in info}
        return {name: _plain(part) for name, part in info["feedback"].items()} | disclosed

    def _seen_as(self, name: str) -> Any:
        """A modality for the page: a sentence, or a picture whose frames lie side by side."""
        value = self._observation[name]
        if name == TEXT:
            return self._vocabulary.decode(value)
        frames = value if name == VIDEO else value[None]
        return _png(np.concatenate(frames, axis=1))


def page(name: str, game: Game) -> str:
    """The page of a game; what changes on it comes from `Game.state`."""
    played = game.env.unwrapped
    rules = inspect.cleandoc(type(played.world if isinstance(played, WorldEnv) else played).__doc__ or "")
    space: Any = game.env.observation_space
    shapes = {name: ((1,) * (name == IMAGE) + space[name].shape)[:3] for name in game.modalities if name != TEXT}
    data = {"modalities": game.modalities, "shapes": shapes, "groups": game.groups, "colours": _COLOURS}
    data["immediate"] = isinstance(game.env.action_space, spaces.Discrete) and game.groups[0]["labels"] is not None
    about = next((text for text in rules.split("\n\n") if not text.startswith("#")), "")  # past a heading
    fields = {"env": name, "about": about, "rules": rules}
    # "</script>" would end the data
    return fill(_TEMPLATE.read_text(encoding="utf-8"), fields, {"game": json.dumps(data).replace("<", "\\u003c")})


def _enumerated(env: gym.Env) -> tuple[str, ...]:
    """Names of actions, where an enumeration `actions` has them in the order of their numbers, as in MiniGrid."""
    named = getattr(env, "actions", None)
    return tuple(named.__members__) if isinstance(named, enum.EnumMeta) else ()


def _plain(value: Any) -> Any:
    """A value as JSON knows it, None for a number that is not finite."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _list(names: tuple[str, ...]) -> str:
    if len(names) < 2:
        return f"{names[0]} alone" if names else "nothing"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
