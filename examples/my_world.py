"""bells: ring two bells in the order that the text tells. A whole world in one file, to copy and to change."""

from typing import ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces

import unienv
from unienv.modality import IMAGE, TEXT, Vocabulary, pixel_space, text_space
from unienv.rng import Array, Keys
from unienv.sprites import COLOURS, TILE, as_words, floor_tile, paint, stamp
from unienv.world import Feedback, Observation

_COLOURS, _SONG, _HEARD = range(3)  # salts: one for each purpose, so that draws don't depend on each other


class BellsState(NamedTuple):
    """All that a world remembers, one row a world."""

    colours: Array  # (N, n) int64, colour of the bell in each place
    song: Array  # (N, 2) int64, colours in the order to ring
    rung: Array  # (N, n) bool, places whose bell has rung
    second: Array  # (N,) bool, the first ring was right
    over: Array  # (N,) bool


class Bells(unienv.World):
    """A row of n bells of different colours, and a song of two: "ring red then blue".

    Why non-separable: a ring is right where the colour in the place is the colour in the text. The text knows no
    places, and the image shows all bells alike.

    Observation: text (4,); image (8, 8 * n, 3), one 8 x 8 tile a bell, on a bright ground once it has rung.
    Actions: the place to ring, from the left. Feedback: right, the ring was; success, it ended the song.
    Reward: 1 for success. Start: the colours in a uniform order; the song a uniform pair of different ones.
    End: terminated by a wrong ring and by the end of the song.

    A ring is listened to with probability `coupling`; otherwise it counts as right whatever was rung. Uniform actions
    find the song with probability (1 - c (n-1)/n)^2. In nats, with the binary entropy h:
        first ring, any c       h(c (n-1)/n) - (n-1)/n h(c), all of I(X;Y)
        second ring, c = 1      (n-1)/n h(1/(n-1)), for the image alone tells that the rung bell is wrong

    Args:
        coupling: share of rings that are listened to, in [0, 1].
        num_bells: n, 2 to 6.
        signal: rule G. backend, device: see `World`.
    """

    small: ClassVar = {"num_bells": 3}

    def __init__(
        self,
        coupling: float = 1.0,
        num_bells: int = 3,
        signal: str = "reward",
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        super().__init__(signal, backend, device)
        if not 0.0 <= coupling <= 1.0:
            raise ValueError(f"coupling must lie in [0, 1], got {coupling}")
        if not 2 <= num_bells <= len(COLOURS):
            raise ValueError(f"num_bells must lie in [2, {len(COLOURS)}], got {num_bells}")
        self.coupling, self.num_bells = coupling, num_bells
        colours = list(COLOURS)[:num_bells]
        self.action_names = tuple(f"place {place + 1}" for place in range(num_bells))
        self.vocabulary = Vocabulary(["ring", "then", *colours])
        # Everything that can be said or seen is made here, once. At run time it is only looked up.
        sentences = [self.vocabulary.encode(f"ring {one} then {other}", 4) for one in colours for other in colours]
        self._sentences = self.array(np.stack(sentences))  # (n * n, L), the second colour varies fastest
        self._tiles = self.array(as_words(_draw_bells(colours)))  # (n * 2, 8, 3), rung or not varies fastest
        self._places = self.array(np.arange(num_bells)[None])  # (1, n)
        self._shape = (TILE, TILE * num_bells, 3)
        self.observation_space = spaces.Dict({TEXT: text_space(self.vocabulary, 4), IMAGE: pixel_space(self._shape)})
        self.action_space = spaces.Discrete(num_bells)

    def initial(self, keys: Keys) -> BellsState:
        """Colours and song, each drawn from a salt of its own."""
        colours = keys.permutation(_COLOURS, self.num_bells)
        silent = colours < 0
        return BellsState(colours, keys.permutation(_SONG, self.num_bells, 2), silent, silent[:, 0], silent[:, 0])

    def observe(self, state: BellsState) -> Observation:
        """The sentence, and a tile a bell; both are copies."""
        image = self.canvas((state.colours.shape[0], *self._shape))
        tiles = self._tiles[state.colours * 2 + self.xp.astype(state.rung, self.xp.int64)]
        stamp(self.xp, image, self._places * 0, self._places, tiles)
        return {TEXT: self._sentences[state.song[:, 0] * self.num_bells + state.song[:, 1]], IMAGE: image}

    def feedback(self, state: BellsState, observation: Observation, action: Array, keys: Keys) -> Feedback:
        """Whether the ring was right. A part named "success" is a must."""
        del observation
        right = (action == self.oracle(state)) | ~keys.bernoulli(_HEARD, self.coupling)
        return {"right": right, "success": right & state.second}

    def transition(
        self, state: BellsState, observation: Observation, action: Array, feedback: Feedback, keys: Keys
    ) -> BellsState:
        """The bell has rung. New arrays: those of `state` stay as they are."""
        del observation, keys
        rung = state.rung | (self._places == action[:, None])
        return state._replace(rung=rung, second=feedback["right"], over=feedback["success"] | ~feedback["right"])

    def terminal(self, state: BellsState) -> Array:
        """The song is over, well or badly."""
        return state.over

    def oracle(self, state: BellsState) -> Array:
        """The place of the colour whose turn it is."""
        turn = self.xp.where(state.second, state.song[:, 1], state.song[:, 0])
        return self.xp.argmax(self.xp.astype(state.colours == turn[:, None], self.xp.int64), axis=1)


def _draw_bells(colours: list[str]) -> np.ndarray:
    """(n * 2, 8, 8, 3) uint8."""
    grounds = [floor_tile(), np.full((TILE, TILE, 3), 235, np.uint8)]
    return np.stack([paint(ground, _is_bell, COLOURS[colour]) for colour in colours for ground in grounds])


def _is_bell(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The points (x, y) of the square [-1, 1]^2, y downwards, that belong to a bell: its body and its clapper."""
    body = (abs(y) < 0.5) & (abs(x) < 0.55 + 0.35 * (y > 0.2))
    return body | (x**2 + (y + 0.4) ** 2 < 0.55**2) | (x**2 + (y - 0.6) ** 2 < 0.3**2)


unienv.register("Bells-v0", f"{__name__}:Bells")
