"""terminal: a small shell whose screen is given twice, as words and as pixels. A negative control: separable."""

import string
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces

from unienv.glyphs import glyph_tiles
from unienv.modality import IMAGE, PAD, TEXT, Vocabulary, pixel_space, text_space
from unienv.rng import Array, Keys
from unienv.sprites import TILE, as_words, lay
from unienv.world import Feedback, Observation, World, take

_START = 0  # salt
_MOST_FILES, _MOST_VALUES = 8, 10
_VERBS = ("edit", "run", "check")
_REPLIES = ("ok", "error", "passed", "failed")
_INK, _PAPER = (188, 232, 196), (16, 20, 24)

Slot = str | tuple[str, ...]  # a place for one word on the screen: a fixed word, or the words that may stand there


class TerminalState(NamedTuple):
    """Fields, int64: values are in [0, k), words are ids of the vocabulary and 0 where there is none."""

    files: Array  # (N, n) value in each file
    want: Array  # (N,) value asked for
    out: Array  # (N,) value in the output file
    command: Array  # (N, 3) words of the last command, as it was understood
    reply: Array  # (N,) word that it was answered with


class Terminal(World):
    """A machine with n files, an output file and three commands, deterministic; both modalities show its screen.

        want 3
        a 1 b 2         the files
        out 0
        > edit a 2      the last command
        ok              the answer to it: ok, error, passed or failed

    Why separable: each modality shows the whole state, so that either alone foresees all that happens: NS_fb = NS_out =
    L1 = 0 although I(X;Y) > 0. An estimate of coupling that is not 0 here is an error of the estimate.

    Observation: text (9 + 2n,), a word a place and 0 where none stands; image (40, 88, 3), 8 x 8 pixels a character,
        and 8 * (4n - 1) wide where n > 3.
    Actions: MultiDiscrete (3,), words with the ids of the text: 0 none, 1 edit, 2 run, 3 check, then values and files.
            edit <file> <value>   writes the value into the file
            run                   writes the sum of the files, modulo k, into out
            check                 passes if out is what is wanted
        Words after run and check are ignored, so that one in 4 + n + k random commands runs, not one in that cubed.
        Anything else is an error and changes nothing. The screen shows a command as it was understood: of ignored words
        and of an error it shows nothing.
    Feedback: success, check passed; error; changed, the command changed a file or out; right, out is what is wanted
        after the command. Reward: 1 for success.
    Start: files and wish uniform, out uniform over the other values. An edit, run and check always suffice; random
        words succeed in about 5 % of the episodes of the default version.
    End: terminated when check passes, truncated at the horizon.

    Args:
        num_files: n, 1 to 8.
        num_values: k, 2 to 10.
        horizon: steps until truncation.
        signal: rule G. backend, device: see `World`.
    """

    small: ClassVar = {"num_files": 1, "num_values": 2, "horizon": 3}

    def __init__(
        self,
        num_files: int = 2,
        num_values: int = 4,
        horizon: int = 8,
        signal: str = "reward",
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        super().__init__(signal, backend, device)
        _check_sizes(num_files, num_values, horizon)
        self.num_files, self.num_values, self.horizon = num_files, num_values, horizon
        values, names = tuple(string.digits[:num_values]), tuple(string.ascii_lowercase[:num_files])
        commands = (*_VERBS, *values, *names)  # these come first, so that ids of words are numbers of actions
        self.vocabulary = Vocabulary([*commands, "want", "out", ">", *_REPLIES])
        self._edit, self._run, self._check = map(self.vocabulary.id, _VERBS)
        self._ok, self._error, self._passed, self._failed = map(self.vocabulary.id, _REPLIES)
        self._value, self._name = self.vocabulary.id(values[0]), self.vocabulary.id(names[0])
        self._lines: list[list[Slot]] = [
            ["want", values],
            [slot for name in names for slot in (name, values)],
            ["out", values],
            [">", _VERBS, names, values],
            [_REPLIES],
        ]
        slots = [slot for line in self._lines for slot in line]
        form = [self.vocabulary.id(slot) if isinstance(slot, str) else PAD for slot in slots]
        self._form = self.array([form], "int32")  # (1, L) the words that never change
        self._open = self.array([i for i, slot in enumerate(slots) if not isinstance(slot, str)], "int64")  # the rest
        slot, letter = _lay_out(self._lines)  # (rows, columns) each
        self._slot, self._letter = self.array(slot), self.array(letter)
        characters = " >" + string.ascii_lowercase + string.digits
        self._spelling = self.array(_spell(self.vocabulary, characters, letter.max() + 1))  # (V, letters)
        self._tiles = self.array(as_words(glyph_tiles(characters, _INK, _PAPER)))  # (characters, 8, 3)
        self._size = (slot.shape[0] * TILE, slot.shape[1] * TILE, 3)
        self.observation_space = spaces.Dict(
            {TEXT: text_space(self.vocabulary, len(slots)), IMAGE: pixel_space(self._size)}
        )
        self.action_space = spaces.MultiDiscrete([1 + len(commands)] * 3)

    def initial(self, keys: Keys) -> TerminalState:
        """Independent values, but out is not what is wanted; nothing has been typed yet."""
        n, k = self.num_files, self.num_values
        draw = keys.integers(_START, [k] * (n + 1) + [k - 1])
        files, want = draw[:, :n], draw[:, n]
        command = self.xp.zeros((draw.shape[0], 3), dtype=self.xp.int64, device=self.device)
        return TerminalState(files, want, (want + 1 + draw[:, n + 1]) % k, command, want * 0)

    def observe(self, state: TerminalState) -> Observation:
        """The words of the screen, and the same letter by letter."""
        text = self._write(state)
        return {TEXT: text, IMAGE: self._draw(text)}

    def feedback(self, state: TerminalState, observation: Observation, action: Array, keys: Keys) -> Feedback:
        """What the command did."""
        del observation, keys
        after = self._execute(state, action)
        return {
            "success": after.reply == self._passed,
            "error": after.reply == self._error,
            "changed": self.xp.any(after.files != state.files, axis=1) | (after.out != state.out),
            "right": after.out == state.want,
        }

    def transition(
        self, state: TerminalState, observation: Observation, action: Array, feedback: Feedback, keys: Keys
    ) -> TerminalState:
        """The command is carried out."""
        del observation, feedback, keys
        return self._execute(state, action)

    def terminal(self, state: TerminalState) -> Array:
        """The check passed."""
        return state.reply == self._passed

    def oracle(self, state: TerminalState) -> Array:
        """(N, 3): the next command of a shortest solution: check, else run, else an edit of the first file."""
        xp = self.xp
        total = xp.sum(state.files, axis=1)
        right, ready = state.out == state.want, total % self.num_values == state.want
        verb = xp.where(right, self._check, xp.where(ready, self._run, self._edit))
        needed = (state.want - total + state.files[:, 0]) % self.num_values
        edit = verb == self._edit
        return xp.stack([verb, edit * self._name, edit * (needed + self._value)], axis=1)

    def name_action(self, action: Any) -> str:
        """The words of a command, _ for a place without one before others."""
        words = [self.vocabulary.decode([word]) or "_" for word in np.trim_zeros(np.asarray(action), "b")]
        return " ".join(words)

    def describe(self, state: TerminalState, index: int) -> str:
        """The screen on one line, and below it as it stands."""
        text = super().describe(state, index)
        words = iter(self._write(take(state, self.array([index], "int64")))[0].tolist())
        return "\n".join([text, *(self.vocabulary.decode(next(words) for _ in line) for line in self._lines)])

    def _execute(self, state: TerminalState, action: Array) -> TerminalState:
        """The machine after a command (N, 3)."""
        xp = self.xp
        verb, file, value = action[:, 0], action[:, 1] - self._name, action[:, 2] - self._value
        run, check = verb == self._run, verb == self._check
        edit = (verb == self._edit) & (file >= 0) & (value >= 0) & (value < self.num_values)
        written = edit[:, None] & (file[:, None] == xp.arange(self.num_files, device=self.device))
        verdict = xp.where(state.out == state.want, self._passed, self._failed)
        return TerminalState(
            files=xp.where(written, value[:, None], state.files),
            want=state.want,
            out=xp.where(run, xp.sum(state.files, axis=1) % self.num_values, state.out),
            command=action * xp.stack([edit | run | check, edit, edit], axis=1),
            reply=xp.where(edit | run, self._ok, xp.where(check, verdict, self._error)),
        )

    def _write(self, state: TerminalState) -> Array:
        """Words of the screen (N, L)."""
        xp = self.xp
        values = [v + self._value for v in (state.want[:, None], state.files, state.out[:, None])]
        text = self._form[xp.zeros_like(state.want)]  # (N, L), fresh
        text[:, self._open] = xp.astype(xp.concat([*values, state.command, state.reply[:, None]], axis=1), xp.int32)
        return text

    def _draw(self, text: Array) -> Array:
        """Pixels (N, H, W, 3) of screens (N, L): words to characters, and these to tiles."""
        character = self._spelling[text[:, self._slot], self._letter]  # (N, rows, columns)
        image = self.canvas((text.shape[0], *self._size))
        lay(image, self._tiles, character)
        return image


def _lay_out(lines: list[list[Slot]]) -> tuple[np.ndarray, np.ndarray]:
    """Which slot, and which letter of its word, stands where: (rows, columns) int64 each.

    A slot is as wide as the longest word that may stand there, and a blank parts it from the next. Blanks show the
    letter behind the longest of all words.
    """
    widths = [[len(max([slot] if isinstance(slot, str) else slot, key=len)) for slot in line] for line in lines]
    columns, blank = max(sum(line) + len(line) - 1 for line in widths), max(map(max, widths))
    slot, letter = np.zeros((len(lines), columns), np.int64), np.full((len(lines), columns), blank)
    number = 0
    for row, line in enumerate(widths):
        column = 0
        for width in line:
            slot[row, column : column + width] = number
            letter[row, column : column + width] = np.arange(width)
            number, column = number + 1, column + width + 1
    return slot, letter


def _spell(vocabulary: Vocabulary, characters: str, letters: int) -> np.ndarray:
    """(V, letters) int64: each word as indices of characters, filled up with spaces; padding is all spaces."""
    return np.array([[characters.index(c) for c in word.ljust(letters)] for word in ("", *vocabulary.words)])


def _check_sizes(num_files: int, num_values: int, horizon: int) -> None:
    if not 1 <= num_files <= _MOST_FILES:
        raise ValueError(f"terminal needs 1 to {_MOST_FILES} files, got num_files={num_files}")
    if not 2 <= num_values <= _MOST_VALUES:
        raise ValueError(f"terminal needs 2 to {_MOST_VALUES} values a file, got num_values={num_values}")
    if horizon < 1:
        raise ValueError(f"terminal needs a horizon of at least 1 step, got {horizon}")
