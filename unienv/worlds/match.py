"""match: does the picture show what the text names? The smallest world whose feedback needs both modalities."""

from typing import ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces

from unienv.buffers import aligned
from unienv.dial import binary_entropy, check_coupling
from unienv.modality import IMAGE, TEXT, Vocabulary, pixel_space, text_space
from unienv.rng import Array, Keys
from unienv.spelling import check_choice
from unienv.sprites import COLOURS, FLOOR, SHAPES, copy_rows, paint
from unienv.world import Feedback, Observation, World

KINDS = ("joint", "additive", "redundant", "text", "image")
NO, YES = 0, 1

_SIZE, _SPRITE, _STRIDE = 64, 32, 16  # pixels: picture, shape, step between places
_PLACES = [(y, x) for y in range(0, _SIZE - _SPRITE + 1, _STRIDE) for x in range(0, _SIZE - _SPRITE + 1, _STRIDE)]
_SKY = {"night": FLOOR, "day": (206, 214, 224)}
_START, _ANSWER = range(2)  # salts


class MatchState(NamedTuple):
    """Fields, all (N,) int64 but the last: concepts in [0, k), cues 0 night or 1 day, place of the shape."""

    shown: Array
    named: Array
    image_cue: Array
    text_cue: Array
    place: Array
    answered: Array  # (N,) bool


class Match(World):
    """A picture of a coloured shape by day or by night, and a question that names a coloured shape and a time of day.

    Why non-separable: the right answer is [shown = named]. Given either modality alone both answers are equally likely,
    and no sum of per-modality scores tells the diagonal of a k x k table from the rest.

    Observation: text (8,) "is this a red circle by day ?"; image (64, 64, 3).
    Actions: 0 no, 1 yes. Feedback: success, the answer was right. Reward: 1 for success.
    Start: shown and named agree with probability 1/2 and are each uniform over the k concepts; the time of day in the
        picture and in the text are fair coins, independent of the concepts and, but for `kind=redundant`, of each
        other.
    End: terminated after one answer.

    The right answer is the joint one, [shown = named], with probability `coupling`; otherwise it follows `kind`:
        text        yes iff the text says day (unique information of the text)
        image       yes iff the picture shows day (unique information of the image)
        redundant   the two times of day always agree; yes iff day
        additive    each time of day has one vote, a tie is drawn by a fair coin (log-additive, no interaction)
        joint       the joint answer itself; with `coupling` below 1 the rest is additive
    so that `coupling=0` is separable, `coupling=1` is joint, and non-separability is known in closed form between.

    Analytic ceilings of success at coupling 1, for every k >= 2: one modality 1/2; late fusion 3/4; joint 1. Late: a
    sum of two scores says yes on a set of cells with nested rows, so of any two diagonal cells (i,i), (j,j) in it one
    of (i,j), (j,i) is in it too. With t diagonal cells it gains at most t/2k - t(t-1)/4k(k-1) over 1/2, whose
    maximum over t is 1/4, at t = k-1 and t = k.

    Args:
        kind: pure case that feedback follows where it is not joint, see above.
        coupling: share of joint feedback in [0, 1]; None for the pure case: 1 for `kind=joint`, else 0.
        num_colours: colours in use, 1 to 6.
        num_shapes: shapes in use, 1 to 5; k = num_colours * num_shapes must be at least 2.
        signal: rule G. backend, device: see `World`.
    """

    action_names = ("no", "yes")
    small: ClassVar = {"num_colours": 2, "num_shapes": 2}

    def __init__(
        self,
        kind: str = "joint",
        coupling: float | None = None,
        num_colours: int = 4,
        num_shapes: int = 4,
        signal: str = "reward",
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        super().__init__(signal, backend, device)
        self.kind, self.coupling = _check_mixture(kind, coupling)
        if not (1 <= num_colours <= len(COLOURS) and 1 <= num_shapes <= len(SHAPES) and num_colours * num_shapes >= 2):
            raise ValueError(
                f"match needs 1..{len(COLOURS)} colours, 1..{len(SHAPES)} shapes and at least 2 of them together, "
                f"got num_colours={num_colours}, num_shapes={num_shapes}"
            )
        colours, shapes = list(COLOURS)[:num_colours], list(SHAPES)[:num_shapes]
        self.num_concepts = num_colours * num_shapes
        self.vocabulary = Vocabulary(["is", "this", "a", "by", "?", *_SKY, *colours, *shapes])
        self._sentences = self.array(_draw_sentences(self.vocabulary, colours, shapes))  # (k * 2, L)
        self._frames = self.array(aligned(_draw_frames(colours, shapes)))  # (k * 2 * places, H, W, C)
        self.observation_space = spaces.Dict(
            {TEXT: text_space(self.vocabulary, self._sentences.shape[1]), IMAGE: pixel_space((_SIZE, _SIZE, 3))}
        )
        self.action_space = spaces.Discrete(2)

    def initial(self, keys: Keys) -> MatchState:
        """Balanced pairs of concepts and fair cues."""
        k = self.num_concepts
        draw = keys.integers(_START, [k, k - 1, 2, 2, 2, len(_PLACES)])
        shown, image_cue = draw[:, 0], draw[:, 3]
        named = (shown + draw[:, 2] * (1 + draw[:, 1])) % k  # half the time another concept
        text_cue = image_cue if self.kind == "redundant" else draw[:, 4]
        return MatchState(shown, named, image_cue, text_cue, draw[:, 5], shown < 0)

    def observe(self, state: MatchState) -> Observation:
        """Question and picture, one table look-up each."""
        frame = (state.shown * 2 + state.image_cue) * len(_PLACES) + state.place
        image = self.canvas((frame.shape[0], _SIZE, _SIZE, 3))
        copy_rows(self._frames, frame, image)
        return {TEXT: self._sentences[state.named * 2 + state.text_cue], IMAGE: image}

    def feedback(self, state: MatchState, observation: Observation, action: Array, keys: Keys) -> Feedback:
        """Whether the answer was right; random only where coupling or a tie makes it so."""
        del observation
        yes = self.yes_probability(state)
        answer = yes == 1.0 if self.coupling == 1.0 else keys.bernoulli(_ANSWER, yes)  # a certain answer costs no draw
        return {"success": (action == YES) == answer}

    def transition(
        self, state: MatchState, observation: Observation, action: Array, feedback: Feedback, keys: Keys
    ) -> MatchState:
        """The question has been answered."""
        del observation, action, feedback, keys
        return state._replace(answered=state.shown >= 0)

    def terminal(self, state: MatchState) -> Array:
        """One answer ends the episode."""
        return state.answered

    def oracle(self, state: MatchState) -> Array:
        """The likelier answer given the state."""
        return self.xp.astype(self.yes_probability(state) > 0.5, self.xp.int64)

    def yes_probability(self, state: MatchState) -> Array:
        """(N,) float64: probability that yes is the right answer."""
        joint = self.xp.astype(state.shown == state.named, self.xp.float64)
        return self.coupling * joint + (1.0 - self.coupling) * self._separable_probability(state)

    def nonseparability(self) -> float:
        """NS_fb in nats under uniform actions: 0 at coupling 0, ln 2 at coupling 1, monotone between.

        By the symmetry of the concepts the best log-additive predictor sees only the cues, where the additive kind has
        log odds (-g, 0, g). NS_fb is its entropy less that of the feedback itself; h is the binary entropy:
            one cue     h(c/2) - h(c)/2
            two votes   the same where they agree, ln 2 - h((1-c)/2) where they differ, half the time each
        """
        c = self.coupling
        one_cue = binary_entropy(c / 2) - binary_entropy(c) / 2
        if self.kind in ("text", "image", "redundant"):
            return one_cue
        return (one_cue + np.log(2) - binary_entropy((1 - c) / 2)) / 2

    def _separable_probability(self, state: MatchState) -> Array:
        if self.kind in ("text", "redundant"):
            votes = 2 * state.text_cue
        elif self.kind == "image":
            votes = 2 * state.image_cue
        else:
            votes = state.text_cue + state.image_cue
        return self.xp.astype(votes, self.xp.float64) / 2.0


def _check_mixture(kind: str, coupling: float | None) -> tuple[str, float]:
    check_choice("kind", kind, KINDS)
    pure = 1.0 if kind == "joint" else 0.0
    share = pure if coupling is None else float(coupling)
    check_coupling(share)
    return kind, share


def _draw_sentences(vocabulary: Vocabulary, colours: list[str], shapes: list[str]) -> np.ndarray:
    """(k * 2, 8) int32; the time of day varies fastest."""
    sentences = [f"is this a {c} {s} by {time} ?" for c in colours for s in shapes for time in _SKY]
    return np.stack([vocabulary.encode(sentence, 8) for sentence in sentences])


def _draw_frames(colours: list[str], shapes: list[str]) -> np.ndarray:
    """(k * 2 * places, 64, 64, 3) uint8; the place varies fastest, then the time of day."""
    frames = []
    for colour in colours:
        for shape in shapes:
            for sky in _SKY.values():
                background = np.full((_SIZE, _SIZE, 3), sky, np.uint8)
                sprite = paint(background[:_SPRITE, :_SPRITE], SHAPES[shape], COLOURS[colour])
                for y, x in _PLACES:
                    frame = background.copy()
                    frame[y : y + _SPRITE, x : x + _SPRITE] = sprite
                    frames.append(frame)
    return np.stack(frames)
