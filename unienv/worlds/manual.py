"""manual: a locked door, some keys, and a manual, new in every episode, that says which key opens which door."""

from itertools import permutations
from typing import ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces

from unienv.dial import check_coupling
from unienv.grid import FAR, MOVE_NAMES, UP, distances, next_cells
from unienv.modality import IMAGE, TEXT, Vocabulary, pixel_space, text_space
from unienv.rng import Array, Keys
from unienv.spelling import check_choice
from unienv.sprites import COLOURS, SHAPES, TILE, agent_tile, as_words, floor_tile, paint, stamp
from unienv.world import Feedback, Observation, World

SPLITS = ("train", "test", "all")
TEMPLATES = (
    "the {colour} key opens the {symbol} door .",
    "the {symbol} door needs the {colour} key .",
    "use the {colour} key on the {symbol} .",
    "at the {symbol} turn the {colour} key .",
)

_WORDS = 8  # of every template
_SHUT, _OPEN, _JAMMED = range(3)  # states of the lock
_CELLS, _ORDER, _START, _OBEY = range(4)  # salts
_BRICK, _MORTAR, _WOOD, _INLAY, _BROKEN = (104, 92, 88), (62, 56, 56), (98, 62, 34), (244, 232, 206), (196, 52, 44)
_KEY = ("........", "........", "..##....", ".#..####", ".#..#.#.", "..##....", "........", "........")


class ManualState(NamedTuple):
    """Fields, int64: cells are row * size + column; keys, colours and symbols are in [0, n)."""

    agent: Array  # (N,) cell
    keys: Array  # (N, n) cell of the key of each colour; size^2, outside the room, for the one that is carried
    door: Array  # (N,) column of the door, which is also the cell below it
    symbol: Array  # (N,) symbol on the door
    opens: Array  # (N, n) symbol that each colour opens by the manual
    sentences: Array  # (N, n) (template * n + colour) * n + symbol of each sentence, in reading order
    lock: Array  # (N,) 0 shut, 1 open, 2 jammed


class Manual(World):
    """A room with n coloured keys and a locked door in the wall above, marked with a symbol; a manual of n sentences.

    Each sentence pairs one colour with one symbol, "the red key opens the ring door", in random order and wording. The
    agent takes a key by stepping on it; the one it carried before is left in its place. Stepping up into the door, the
    right key opens it and the agent walks through, a wrong one jams the lock, and without a key the door stays shut.

    Why non-separable: the right key is manual(text)[symbol on the door (image)], and whether the agent passes depends
    on it, not the reward alone. At coupling 1, given either modality alone, every key is equally likely; and of an
    attempt with a key, under uniform actions, no sum of per-modality scores expresses h(1/n) nats, all that there is to
    know of it. h is the binary entropy.

    Observation: text (8 * n,); image (8 * (size + 1), 8 * size, 3), one 8 x 8 tile a cell, the wall on top. The agent
        is the white face, its collar has the colour of the key that it carries; a jammed door's symbol is red.
    Actions: 0 wait, 1 up, 2 down, 3 left, 4 right; a step against a wall, or a shut door without a key, waits.
    Feedback: success, the door opened; wrong, the key jammed; picked, a key was taken.
    Reward: 1 for success.
    Start: agent and keys on distinct uniform cells, hands empty; the door's column, its symbol, the manual among those
        of the split, the order of its sentences and the wording of each are uniform and independent.
    End: terminated when the door opens or jams, truncated at the horizon.

    `split` holds out whole manuals. The n! bijections fall into classes of n that differ by a shift of the symbols;
    every fifth class, from the second on, is "test". So each colour meets each symbol equally often in either split,
    and from four keys on any two sentences of one manual meet in training too: only the whole is new in a test. A
    policy that finds the sentence with the door's symbol does as well there; one that knows manuals by heart does not.
    With three keys half of the manuals are held out, with four a sixth, with five 25 of 120.

    Args:
        size: cells a side, 2 to 64.
        num_keys: n, 2 to 5, fewer than cells: the first n of `COLOURS` and of `SHAPES`.
        paraphrases: wordings in use, the first of `TEMPLATES`, 1 to 4.
        split: manuals to draw from, "all", "train" or "test"; the latter two from three keys on.
        coupling: probability in [0, 1] that an attempt at the door goes by the manual. Otherwise the old locks apply,
            which the image alone decides: the i-th colour opens the i-th symbol. 0 is separable.
        horizon: steps until truncation.
        signal: rule G. backend, device: see `World`.
    """

    action_names = MOVE_NAMES
    small: ClassVar = {"size": 2, "num_keys": 2, "paraphrases": 1, "horizon": 6}

    def __init__(
        self,
        size: int = 5,
        num_keys: int = 3,
        paraphrases: int = 2,
        split: str = "all",
        coupling: float = 1.0,
        horizon: int = 32,
        signal: str = "reward",
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        super().__init__(signal, backend, device)
        _check_room(size, num_keys, horizon)
        _check_rules(num_keys, paraphrases, split, coupling)
        self.size, self.num_keys, self.paraphrases, self.horizon = size, num_keys, paraphrases, horizon
        self.split, self.coupling = split, float(coupling)
        colours, symbols = list(COLOURS)[:num_keys], list(SHAPES)[:num_keys]
        words = dict.fromkeys(word for template in TEMPLATES for word in template.split() if word[0] != "{")
        self.vocabulary = Vocabulary([*words, *COLOURS, *SHAPES])
        sentences = [t.format(colour=c, symbol=s) for t in TEMPLATES[:paraphrases] for c in colours for s in symbols]
        self._sentences = self.array(np.stack([self.vocabulary.encode(s, _WORDS) for s in sentences]))
        self._manuals = self.array(draw_manuals(num_keys, split))  # (M, n)
        self._chance = self.array(
            np.array([[0.0, 1.0 - self.coupling], [self.coupling, 1.0]])
        )  # by manual, by old lock
        self._next = self.array(next_cells(size))  # (cells, K)
        self._room = self.array(_draw_room(size))  # (H, W, C)
        self._keys = self.array(as_words(_draw_keys(colours)))  # (n, 8, 3)
        self._doors = self.array(as_words(_draw_doors(symbols)))  # (3 * n, 8, 3), the symbol varies fastest
        self._agents = self.array(as_words(_draw_agents(colours)))  # (1 + n, 8, 3)
        self.observation_space = spaces.Dict(
            {TEXT: text_space(self.vocabulary, num_keys * _WORDS), IMAGE: pixel_space(tuple(self._room.shape))}
        )
        self.action_space = spaces.Discrete(len(MOVE_NAMES))

    def initial(self, keys: Keys) -> ManualState:
        """Distinct cells, a door, a manual, and its sentences in some order and wording."""
        n = self.num_keys
        cells = keys.permutation(_CELLS, self.size**2, n + 1)
        draw = keys.integers(_START, [self.size, n, len(self._manuals), *[self.paraphrases] * n])
        opens = self._manuals[draw[:, 2]]
        colours = keys.permutation(_ORDER, n)
        symbols = self.xp.take_along_axis(opens, colours, axis=1)
        sentences = (draw[:, 3:] * n + colours) * n + symbols
        return ManualState(cells[:, n], cells[:, :n], draw[:, 0], draw[:, 1], opens, sentences, draw[:, 0] * 0)

    def observe(self, state: ManualState) -> Observation:
        """The manual, and the room with door, keys and agent stamped on it; the agent covers what it stands on."""
        xp, size, column = self.xp, self.size, state.agent[:, None] % self.size
        image = self.canvas((column.shape[0], *self._room.shape))
        image[...] = self._room
        row = 1 + state.agent[:, None] // size - xp.astype(state.lock == _OPEN, xp.int64)[:, None]
        held = self._held(state)
        key_row, key_column = xp.where(held, row, 1 + state.keys // size), xp.where(held, column, state.keys % size)
        stamp(xp, image, key_row, key_column, self._keys[None, :])  # the agent's tile will hide the key in hand
        door = self._doors[state.lock * self.num_keys + state.symbol]
        stamp(xp, image, row * 0, state.door[:, None], door[:, None])
        carried = xp.sum(held * self._rank(1), axis=1)
        stamp(xp, image, row, column, self._agents[carried][:, None])
        return {TEXT: self._sentences[state.sentences].reshape(-1, self.num_keys * _WORDS), IMAGE: image}

    def feedback(self, state: ManualState, observation: Observation, action: Array, keys: Keys) -> Feedback:
        """What is stepped on, and what the lock does: random only where the manual and the old locks differ."""
        del observation
        held = self._held(state)
        attempt = (action == UP) & (state.agent == state.door) & self.xp.any(held, axis=1)
        chance = self.xp.sum(self._chances(state) * held, axis=1) * attempt
        fits = chance == 1.0 if self.coupling in (0.0, 1.0) else keys.bernoulli(_OBEY, chance)
        met = self._met(state, action)
        return {"success": fits, "wrong": attempt & ~fits, "picked": self.xp.any(met, axis=1)}

    def transition(
        self, state: ManualState, observation: Observation, action: Array, feedback: Feedback, keys: Keys
    ) -> ManualState:
        """The agent moves; the key it steps on and the key in hand change places; the lock does as it did."""
        del observation, keys
        xp, outside = self.xp, self.size**2
        agent = self._next[state.agent, action]
        left = xp.where(self._held(state) & feedback["picked"][:, None], agent[:, None], state.keys)
        success, wrong = (xp.astype(feedback[part], xp.int64) for part in ("success", "wrong"))
        return state._replace(
            agent=agent,
            keys=xp.where(self._met(state, action), outside, left),
            lock=_OPEN * success + _JAMMED * wrong,
        )

    def terminal(self, state: ManualState) -> Array:
        """The lock has moved."""
        return state.lock != _SHUT

    def oracle(self, state: ManualState) -> Array:
        """First step of a shortest path to the likeliest key, then to the door, round other keys where that is shorter.

        A key in the way is passed in two steps more: step on it, off it and back, which leaves it behind.
        """
        xp = self.xp
        best = xp.argmax(self._chances(state), axis=1)[:, None]
        aim = xp.take_along_axis(state.keys, best, axis=1)
        armed = aim == self.size**2
        cells = xp.arange(self.size**2, device=self.device)[None, :]
        others = xp.any(cells[:, None, :] == state.keys[:, :, None], axis=1)
        goal = cells == xp.where(armed, state.door[:, None], aim)
        distance = distances(xp, self.size, goal, 2 * xp.astype(others & armed, xp.int64))
        after = self._next[state.agent]
        ahead = xp.where(after == state.agent[:, None], FAR, xp.take_along_axis(distance, after, axis=1))
        return xp.where(armed[:, 0] & (state.agent == state.door), UP, xp.argmin(ahead, axis=1))

    def describe(self, state: ManualState, index: int) -> str:
        """The manual above a map: ## wall, a symbol the door, a colour's first letter a key.

        The agent is @ and the first letter of the key that it carries.
        """
        rows = [["##"] * self.size, *([" ."] * self.size for _ in range(self.size))]
        carried, agent = " ", int(state.agent[index])
        for colour, cell in zip(COLOURS, state.keys[index].tolist(), strict=False):
            if cell == self.size**2:
                carried = colour[0].upper()
            else:
                rows[1 + cell // self.size][cell % self.size] = " " + colour[0].upper()
        door, lock = int(state.door[index]), int(state.lock[index])
        rows[0][door] = "xx" if lock == _JAMMED else list(SHAPES)[int(state.symbol[index])][:2]
        rows[1 + agent // self.size - (lock == _OPEN)][agent % self.size] = "@" + carried
        return "\n".join([super().describe(state, index), *(" ".join(row).rstrip() for row in rows)])

    def _held(self, state: ManualState) -> Array:
        """(N, n) bool: the key in hand."""
        return state.keys == self.size**2

    def _met(self, state: ManualState, action: Array) -> Array:
        """(N, n) bool: the key that the agent steps onto; not the one it stands on already."""
        agent = self._next[state.agent, action]
        return (state.keys == agent[:, None]) & (agent != state.agent)[:, None]

    def _chances(self, state: ManualState) -> Array:
        """(N, n) float64: probability that each key opens the door."""
        symbol = state.symbol[:, None]
        manual, old = state.opens == symbol, self._rank(0) == symbol
        return self._chance[self.xp.astype(manual, self.xp.int64), self.xp.astype(old, self.xp.int64)]

    def _rank(self, first: int) -> Array:
        """(1, n) int64: numbers of the keys, from `first` on."""
        return self.xp.arange(first, first + self.num_keys, device=self.device)[None, :]


def draw_manuals(num_keys: int, split: str) -> np.ndarray:
    """(M, n) int64: the manuals of a split, the symbol that each colour opens, see `Manual`."""
    manuals = np.array(list(permutations(range(num_keys))))
    shifted = (manuals - manuals[:, :1]) % num_keys  # the member of its class that pairs the first with the first
    held_out = np.unique(shifted, axis=0, return_inverse=True)[1].reshape(-1) % 5 == 1
    return manuals[{"all": held_out | True, "train": ~held_out, "test": held_out}[split]]


def _draw_room(size: int) -> np.ndarray:
    """(H, W, 3) uint8: a row of wall above the floor."""
    brick = np.full((TILE, TILE, 3), _BRICK, np.uint8)
    brick[3::4] = brick[:3, 3] = brick[4:7, 7] = _MORTAR
    return np.concatenate([np.tile(brick, (1, size, 1)), np.tile(floor_tile(), (size, size, 1))])


def _draw_keys(colours: list[str]) -> np.ndarray:
    """(n, 8, 8, 3) uint8."""
    outline = np.array([list(row) for row in _KEY]) == "#"
    keys = np.stack([floor_tile()] * len(colours))
    for key, colour in zip(keys, colours, strict=True):
        key[outline] = COLOURS[colour]
    return keys


def _draw_doors(symbols: list[str]) -> np.ndarray:
    """(3 * n, 8, 8, 3) uint8: doors shut, open (the agent hides them) and jammed."""
    wood = np.full((TILE, TILE, 3), _WOOD, np.uint8)
    return np.stack([paint(wood, SHAPES[s], ink) for ink in (_INLAY, _INLAY, _BROKEN) for s in symbols])


def _draw_agents(colours: list[str]) -> np.ndarray:
    """(1 + n, 8, 8, 3) uint8: empty-handed, and with the collar of each key."""
    agents = np.stack([agent_tile()] * (1 + len(colours)))
    for agent, colour in zip(agents[1:], colours, strict=True):
        agent[5:7, 1:7] = COLOURS[colour]
    return agents


def _check_room(size: int, num_keys: int, horizon: int) -> None:
    if not 2 <= size <= 64:
        raise ValueError(f"manual needs a size from 2 to 64 cells a side, got {size}")
    most = min(len(COLOURS), len(SHAPES), size * size - 1)
    if not 2 <= num_keys <= most:
        raise ValueError(f"manual of size {size} needs from 2 to {most} keys, got {num_keys}")
    if horizon < 1:
        raise ValueError(f"manual needs a horizon of at least 1 step, got {horizon}")


def _check_rules(num_keys: int, paraphrases: int, split: str, coupling: float) -> None:
    if not 1 <= paraphrases <= len(TEMPLATES):
        raise ValueError(f"manual needs from 1 to {len(TEMPLATES)} paraphrases, got {paraphrases}")
    check_choice("split", split, SPLITS)
    if split != "all" and num_keys < 3:
        raise ValueError(f"split={split!r} needs at least 3 keys, since two have 2 manuals in all; got {num_keys}")
    check_coupling(coupling)
