"""chase: catch the creature that moves as the text says; how it moves shows in a video, and in none of its frames."""

from typing import ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces

from unienv.buffers import aligned
from unienv.dial import binary_entropy, check_coupling
from unienv.modality import IMAGE, TEXT, VIDEO, Vocabulary, pixel_space, text_space
from unienv.rng import Array, Keys
from unienv.sprites import TILE, as_words, copy_rows, floor_tile, lay, paint
from unienv.world import Feedback, Observation, World

# motion -> rows and columns of a step in the first half of the clip, and in the rest; all go to the right first
MOTIONS = {
    "goes straight": ((0, 1), (0, 1)),
    "turns left": ((0, 1), (-1, 0)),
    "turns right": ((0, 1), (1, 0)),
    "turns back": ((0, 1), (0, -1)),
    "speeds up": ((0, 1), (0, 2)),
    "slows down": ((0, 2), (0, 1)),
}

_ACROSS = 2  # fields side by side
_ROWS = {1: ("",), 2: ("top ", "bottom "), 3: ("top ", "middle ", "bottom ")}  # what rows of fields are called
_SENTENCES = {2: "catch the one that {}", 3: "count on from the one that {}"}
_SIGN = 32  # pixels
_PLAIN, _GOLD, _EYES, _FENCE = (126, 152, 196), (255, 206, 40), (16, 18, 30), (150, 116, 76)
_POST, _BOARD, _SKY, _DOT = (112, 80, 48), (214, 176, 116), (70, 104, 140), (52, 34, 24)
_STARTS, _MOTIONS, _TASK, _JUDGE = range(4)  # salts


class ChaseState(NamedTuple):
    """Fields, int64 but the last: fields are numbered in reading order, and so are the cells of a field."""

    starts: Array  # (N, n) cell of each creature in the first frame
    motions: Array  # (N, n) motion of each creature
    named: Array  # (N,) field of the creature whose motion the text names
    gold: Array  # (N,) field of the golden creature
    dots: Array  # (N,) dots on the sign
    thrown: Array  # (N,) bool, the net has been thrown


class Chase(World):
    """A video of n creatures, each in a field of its own, and a text: "catch the one that turns left".

    Why non-separable: the right field is that in which the named motion happens. The text alone says nothing of where,
    the video alone shows every motion alike. With `order=3` an image shows a sign with dots, and the right field lies
    as many fields further on, in reading order and round again: any two modalities leave all n fields equally likely.
    Why a video: a field is a torus, what leaves it comes back on the other side, and a start is a uniform cell. Up to
    any frame a motion is a shift, so that every single frame shows uniform cells whatever the motions are.

    Observation: text (6,), of order 3 (8,); image, of order 3 alone (32, 32, 3); video (F, 4 n field, 16 field, 3),
        fields laid out 2 wide, one 8 x 8 tile a cell. All creatures go to the right at first.
    Actions: the field to throw the net at, in reading order. Feedback: success, it was the right one.
    Reward: 1 for success.
    Start: different motions, a uniform draw of n of those known; starts, the creature named, the golden one and the
        dots (0 to n - 1) uniform and independent.
    End: terminated after one throw.

    The right field is the joint one with probability `coupling`; otherwise it is that of the golden creature, which
    any frame shows, so that `coupling=0` is separable.

    Args:
        order: modalities that the right field depends on together: 2 text and video, 3 the sign as well.
        coupling: share of joint feedback in [0, 1].
        num_objects: creatures n, 2, 4 or 6.
        num_motions: motions in use, n to 6.
        field: cells a side of a field, 2 to 8; of fewer than 4 some motions look alike, and are refused.
        frames: F, 3 to 16. In the first half of the F - 1 intervals creatures go ahead, in the rest the motion shows.
        signal: rule G. backend, device: see `World`.
    """

    small: ClassVar = {"num_objects": 2, "num_motions": 2, "field": 2, "frames": 3}

    def __init__(
        self,
        order: int = 2,
        coupling: float = 1.0,
        num_objects: int = 4,
        num_motions: int = 6,
        field: int = 4,
        frames: int = 3,
        signal: str = "reward",
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        super().__init__(signal, backend, device)
        _check_task(order, coupling)
        _check_clip(num_objects, num_motions, field, frames)
        self.order, self.coupling, self.num_objects = order, float(coupling), num_objects
        self.num_motions, self.field, self.frames = num_motions, field, frames
        sentences = [_SENTENCES[order].format(motion) for motion in list(MOTIONS)[:num_motions]]
        length = len(sentences[0].split())
        self.vocabulary = Vocabulary(dict.fromkeys(" ".join(sentences).split()))
        self._sentences = self.array(np.stack([self.vocabulary.encode(s, length) for s in sentences]))  # (motions, L)
        self._paths = self.array(_paths(num_motions, field, frames))  # (F, motions * cells)
        self._fields = self.array(as_words(_draw_fields(field)))  # (2 * cells, side, side * 3 / 8)
        self._signs = self.array(aligned(_draw_signs(num_objects)))  # (n, 32, 32, 3)
        self._shape = (frames, num_objects // _ACROSS * field * TILE, _ACROSS * field * TILE, 3)
        sign = {IMAGE: pixel_space((_SIGN, _SIGN, 3))} if order == 3 else {}
        self.observation_space = spaces.Dict(
            {TEXT: text_space(self.vocabulary, length), **sign, VIDEO: pixel_space(self._shape)}
        )
        self.action_space = spaces.Discrete(num_objects)
        self.action_names = tuple(row + side for row in _ROWS[num_objects // _ACROSS] for side in ("left", "right"))

    def initial(self, keys: Keys) -> ChaseState:
        """Everything uniform; motions without repetition."""
        n = self.num_objects
        starts = keys.integers(_STARTS, [self.field**2] * n)
        task = keys.integers(_TASK, [n, n, n if self.order == 3 else 1])
        motions = keys.permutation(_MOTIONS, self.num_motions, n)
        return ChaseState(starts, motions, task[:, 0], task[:, 1], task[:, 2], starts[:, 0] < 0)

    def observe(self, state: ChaseState) -> Observation:
        """Sentence, sign and clip."""
        observation = {TEXT: self._sentences[self.at(state.motions, state.named)], VIDEO: self._film(state)}
        if self.order == 3:
            observation[IMAGE] = self.canvas((state.dots.shape[0], _SIGN, _SIGN, 3))
            copy_rows(self._signs, state.dots, observation[IMAGE])
        return observation

    def feedback(self, state: ChaseState, observation: Observation, action: Array, keys: Keys) -> Feedback:
        """Whether the net caught the right one; random only where two fields may be right."""
        del observation
        joint = self.xp.astype(action == self._target(state), self.xp.float64)
        separable = self.xp.astype(action == state.gold, self.xp.float64)
        chance = self.coupling * joint + (1.0 - self.coupling) * separable
        certain = self.coupling in (0.0, 1.0)  # a certain answer costs no draw
        return {"success": chance == 1.0 if certain else keys.bernoulli(_JUDGE, chance)}

    def transition(
        self, state: ChaseState, observation: Observation, action: Array, feedback: Feedback, keys: Keys
    ) -> ChaseState:
        """The net has been thrown."""
        del observation, action, feedback, keys
        return state._replace(thrown=state.named >= 0)

    def terminal(self, state: ChaseState) -> Array:
        """One throw ends the episode."""
        return state.thrown

    def oracle(self, state: ChaseState) -> Array:
        """The likelier field given the state."""
        return self._target(state) if self.coupling >= 0.5 else state.gold + 0

    def nonseparability(self) -> float:
        """NS_fb in nats under uniform actions: 0 at coupling 0, h(1/n) at coupling 1, monotone between.

        Renaming the motions changes no law, and neither does moving them on by a field while the sign shows a dot
        less. Averaged over both, scores of less than all modalities depend on the gold alone, so the best such
        predictor is P(success | gold, action): c/n + 1 - c for the golden field, c/n for others. NS_fb is its entropy
        less that of the feedback itself, which is h(c) where one of two different fields was chosen; h is the binary
        entropy. By the same token NS_fb = C_k for `order` k.
        """
        c, n = self.coupling, self.num_objects
        seen = binary_entropy(1 - c + c / n) / n + (n - 1) / n * binary_entropy(c / n)
        return seen - 2 * (n - 1) / n**2 * binary_entropy(c)

    def describe(self, state: ChaseState, index: int) -> str:
        """The sentence and the dots above the frames: o a creature, * the golden one."""
        q, n = self.field, self.num_objects
        films = np.full((self.frames, n // _ACROSS * q, _ACROSS * q), ". ")
        for frame, codes in zip(films, self._clips(state)[index].tolist(), strict=True):
            for field, code in enumerate(codes):
                row, column = field // _ACROSS * q + code // q, field % _ACROSS * q + code % q
                frame[row, column] = "* " if field == int(state.gold[index]) else "o "
        dots = f" [dots: {int(state.dots[index])}]" if self.order == 3 else ""
        lines = ["    ".join(" ".join(marks) for marks in line) for line in films.swapaxes(0, 1)]
        return "\n".join([super().describe(state, index) + dots, *lines])

    def _target(self, state: ChaseState) -> Array:
        """(N,) the joint answer: the field named, and as many further as the sign has dots."""
        return (state.named + state.dots) % self.num_objects

    def _clips(self, state: ChaseState) -> Array:
        """(N, F, n) cell of each creature in each frame."""
        clip = state.motions * self.field**2 + state.starts
        return self._paths[self.xp.arange(self.frames, device=self.device)[:, None], clip[:, None, :]]

    def _film(self, state: ChaseState) -> Array:
        """(N, F, H, W, 3): each frame a mosaic of fields."""
        _, height, width, _ = self._shape
        golden = state.gold[:, None, None] == self.xp.arange(self.num_objects, device=self.device)  # (N, 1, n)
        look = self._clips(state) + golden * self.field**2  # (N, F, n)
        video = self.canvas((state.gold.shape[0], *self._shape))
        lay(video.reshape(-1, height, width, 3), self._fields, look.reshape(-1, self.num_objects // _ACROSS, _ACROSS))
        return video


def _paths(num_motions: int, field: int, frames: int) -> np.ndarray:
    """(F, motions * cells) int64: the cell in which each start is by frame t, the first motion's starts first."""
    motion, *cell = np.indices((num_motions, field, field)).reshape(3, -1)
    before, after = np.array(list(MOTIONS.values())).swapaxes(0, 1)[:, motion]
    path = []
    for t in range(frames):
        later = max(0, t - (frames - 1) // 2)  # intervals of the second half that have passed
        row, column = (cell + (t - later) * before.T + later * after.T) % field
        path.append(row * field + column)
    return np.stack(path)


def _draw_fields(field: int) -> np.ndarray:
    """(2 * cells, side, side, 3) uint8: a fenced field by look: plain or golden, then the cell."""
    side = field * TILE
    fields = np.empty((2, field, field, side, side, 3), np.uint8)
    fields[...] = np.tile(floor_tile(), (field, field, 1))
    creatures = np.stack([_draw_creature(colour) for colour in (_PLAIN, _GOLD)])
    for row, column in np.ndindex(field, field):
        down, right = row * TILE, column * TILE
        fields[:, row, column, down : down + TILE, right : right + TILE] = creatures
    for rim in (0, -1):
        fields[..., rim, :, :] = fields[..., :, rim, :] = _FENCE
    return fields.reshape(-1, side, side, 3)


def _draw_creature(colour: tuple[int, int, int]) -> np.ndarray:
    """(8, 8, 3) uint8: a round head with two eyes, which looks the same wherever it goes."""
    tile = paint(floor_tile(), lambda x, y: x**2 + y**2 < 0.8**2, colour)
    return paint(tile, lambda x, y: (abs(abs(x) - 0.38) < 0.13) & (abs(y + 0.125) < 0.13), _EYES)


def _draw_signs(num_objects: int) -> np.ndarray:
    """(n, 32, 32, 3) uint8: a wooden sign with 0 to n - 1 dots, laid out as on a die."""
    low, mid, high = -0.42, 0.0, 0.42
    corners = [(low, high), (high, low), (low, low), (high, high)]
    ground = np.full((_SIGN, _SIGN, 3), _SKY, np.uint8)
    ground = paint(ground, lambda x, y: (abs(x) < 0.1) & (y > 0), _POST)
    ground = paint(ground, lambda x, y: np.maximum(abs(x), abs(y + 0.15) * 1.1) < 0.82, _POST)
    ground = paint(ground, lambda x, y: np.maximum(abs(x), abs(y + 0.15) * 1.1) < 0.74, _BOARD)
    signs = []
    for dots in range(num_objects):
        places = corners[: dots // 2 * 2] + [(mid, mid)] * (dots % 2)
        sign = ground
        for right, down in places:
            sign = paint(sign, lambda x, y, a=right, b=down - 0.15: (x - a) ** 2 + (y - b) ** 2 < 0.15**2, _DOT)
        signs.append(sign)
    return np.stack(signs)


def _check_task(order: int, coupling: float) -> None:
    if order not in _SENTENCES:
        raise ValueError(f"chase couples text and video (order=2) or text, image and video (order=3), got {order}")
    check_coupling(coupling)


def _check_clip(num_objects: int, num_motions: int, field: int, frames: int) -> None:
    if num_objects not in (2, 4, 6):
        raise ValueError(f"chase needs 2, 4 or 6 objects, got {num_objects}")
    if not num_objects <= num_motions <= len(MOTIONS):
        raise ValueError(
            f"chase with {num_objects} objects needs {num_objects}..{len(MOTIONS)} motions, got {num_motions}"
        )
    if not (2 <= field <= 8 and 3 <= frames <= 16):
        raise ValueError(f"chase needs a field of 2 to 8 cells a side and 3 to 16 frames, got {field} and {frames}")
    clips = _paths(num_motions, field, frames).T
    if len(np.unique(clips, axis=0)) < len(clips):
        raise ValueError(
            f"on a field of {field} cells a side some of the {num_motions} motions look alike in {frames} frames; "
            "take a larger field or fewer motions"
        )
