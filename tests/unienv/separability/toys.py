"""Worlds so small that all about them can be told by hand: two modalities of one bit, a word and a grey square."""

from typing import NamedTuple

import numpy as np
from gymnasium import spaces

from unienv.modality import Vocabulary, pixel_space, text_space
from unienv.world import World


class Bits(NamedTuple):
    """Fields, (N,) int64: what the text and the image show, a hidden bit, steps so far."""

    text: np.ndarray
    image: np.ndarray
    hidden: np.ndarray
    step: np.ndarray


class Toy(World):
    """Shows two bits for `length` steps; subclasses say what happens."""

    length = 1

    def __init__(self, signal="reward", backend="numpy", device=None):
        super().__init__(signal, backend, device)
        self.vocabulary = Vocabulary(["off", "on"])
        self.observation_space = spaces.Dict({"text": text_space(self.vocabulary, 1), "image": pixel_space((8, 8, 3))})
        self.action_space = spaces.Discrete(2)

    def initial(self, keys):
        draw = keys.integers(0, [2, 2, 2])
        return Bits(draw[:, 0], draw[:, 1], draw[:, 2], draw[:, 0] * 0)

    def observe(self, state):
        image = np.zeros((len(state.text), 8, 8, 3), np.uint8)
        image[:] = state.image[:, None, None, None] * 200
        return {"text": (state.text[:, None] + 1).astype(np.int32), "image": image}

    def feedback(self, state, observation, action, keys):
        return {"success": action == (state.text ^ state.image)}

    def transition(self, state, observation, action, feedback, keys):
        return state._replace(step=state.step + 1)

    def terminal(self, state):
        return state.step >= self.length

    def oracle(self, state):
        return state.text ^ state.image


class Both(Toy):
    """One step; success iff the action is the AND of both bits."""

    def feedback(self, state, observation, action, keys):
        return {"success": action == (state.text & state.image)}


class Recall(Toy):
    """Two steps. Text shows a bit at first and nothing later; success at the second step iff the action is that bit.

    The image is a fair coin throughout. Who remembers needs the text alone; who does not can't know.
    """

    length = 2

    def feedback(self, state, observation, action, keys):
        return {"success": (state.step == 1) & (action == state.hidden)}

    def observe(self, state):
        return super().observe(state._replace(text=np.where(state.step == 0, state.hidden, 0)))


class Delayed(Toy):
    """Two steps. The text shows a bit at the first, the image another at the second; success there iff their XOR.

    Memoryless agents see one of the bits at a time, and nothing in it; with history it takes both.
    """

    length = 2

    def observe(self, state):
        late = state.step == 1
        return super().observe(state._replace(text=np.where(late, 0, state.text), image=np.where(late, state.image, 0)))

    def feedback(self, state, observation, action, keys):
        return {"success": (state.step == 1) & (action == (state.text ^ state.image))}


class Gallery(Toy):
    """Two steps with pictures of their own, 0 and 1 and then 2 and 3; success iff the action is the step's own bit.

    At the second step that is the picture's other bit: by pictures alone everything is known, by places in a step's
    list nothing is.
    """

    length = 2

    def observe(self, state):
        return super().observe(state._replace(image=state.image + 2 * state.step, text=state.text * 0))

    def feedback(self, state, observation, action, keys):
        return {"success": action == (state.image ^ state.step)}


class Turning(Toy):
    """Two steps; both bits are equal at the first and differ at the second, success iff the action is their XOR.

    Who knows the step needs neither bit, who does not needs both.
    """

    length = 2

    def observe(self, state):
        return super().observe(state._replace(image=state.text ^ state.step))

    def feedback(self, state, observation, action, keys):
        return {"success": action == state.step}


class Drift(Toy):
    """Three steps of a hidden Markov chain: the next bits depend on these, the action and a hidden bit."""

    length = 3

    def feedback(self, state, observation, action, keys):
        return {"success": keys.bernoulli(1, 0.2 + 0.5 * (action == (state.text ^ state.hidden)))}

    def transition(self, state, observation, action, feedback, keys):
        text = keys.bernoulli(2, 0.1 + 0.3 * state.image + 0.4 * (action & state.text)).astype(np.int64)
        common = keys.bernoulli(3, 0.5)
        image = np.where(common, text, state.hidden ^ action)
        return Bits(text, image, state.hidden ^ keys.bernoulli(4, 0.25), state.step + 1)


class Shared(Toy):
    """One coin behind two thresholds: success below 0.3, or below 0.6 for action 1; preference compares both."""

    def feedback(self, state, observation, action, keys):
        return {"success": keys.bernoulli(1, np.where(action == 1, 0.6, 0.3))}


class Continuous(Toy):
    """Draws a uniform number, which can't be counted."""

    def feedback(self, state, observation, action, keys):
        return {"success": keys.uniform(1, 1)[:, 0] < 0.5}


class Endless(Toy):
    """Counts its steps for ever, so that there are always new states."""

    length = 10**9


class Exacting(Toy):
    """Feedback that differs in the seventh digit alone."""

    def feedback(self, state, observation, action, keys):
        told = (action == (state.text ^ state.image)).astype(np.int64)
        return {"success": told > 0, "score": 1_234_560 + told}


class Idle(Toy):
    """Nothing is ever rewarded."""

    def feedback(self, state, observation, action, keys):
        return {"success": action < 0, "seen": state.text}


class Fading(Toy):
    """Ends with chance 0.1 a step, without a horizon."""

    def transition(self, state, observation, action, feedback, keys):
        return state._replace(step=keys.bernoulli(5, 0.1).astype(np.int64))


class Clock(Toy):
    """Reads the clock, which is no part of the state."""

    def feedback(self, state, observation, action, keys):
        return {"success": keys.step == 2}


class Careless(Toy):
    """Two different draws from one salt."""

    def feedback(self, state, observation, action, keys):
        return {"success": keys.integers(1, [2])[:, 0] == keys.integers(1, [3])[:, 0]}


class Made(Toy):
    """Feedback tells both bits apart; the signal made of them is their XOR with the action."""

    def feedback(self, state, observation, action, keys):
        return {"text": state.text, "image": state.image, "success": action >= 0}

    def reward(self, state, observation, action, feedback):
        return (action == (feedback["text"] ^ feedback["image"])).astype(np.float64)
