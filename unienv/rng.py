"""Counter-based randomness: every draw is a hash of (slot seed, episode, step, salt, index).

No generator state is carried along, so a draw depends neither on N nor on what the neighbours did, and integer
arithmetic gives the same bits on numpy and on torch. The hash is the finaliser of SplitMix64 (Steele, Lea & Flood,
"Fast splittable pseudorandom number generators", OOPSLA 2014), in wrapping int64 because torch lacks uint64 shifts.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

Array: TypeAlias = Any  # numpy.ndarray or torch.Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX2 = 0x94D049BB133111EB - (1 << 64)
_DRAWS = 1 << 16  # draws a (step, salt) may take before its counters would meet those of the next salt
_SALTS = 1 << 6


def mix(z: Array) -> Array:
    """SplitMix64's finaliser on int64: a bijection whose output bits all depend on all input bits."""
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * _MIX1
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * _MIX2
    return z ^ ((z >> 31) & 0x1FFFFFFFF)


class Keys(NamedTuple):
    """Randomness of N worlds at one step.

    Fields:
        xp: array namespace of the draws.
        stream: (N,) int64, hash of slot seed and episode.
        step: (N,) int64, 0 for the start of an episode, t for its t-th step.
    """

    xp: Any
    stream: Array
    step: Array

    def bits(self, salt: int, count: int) -> Array:
        """(N, count) int64, uniform on [0, 2^32). Equal salts give equal draws: take a new salt for each purpose."""
        offset = self.xp.arange(salt * _DRAWS, salt * _DRAWS + count, dtype=self.xp.int64, device=self.stream.device)
        counter = (self.step * (_SALTS * _DRAWS))[:, None] + offset
        return (mix(self.stream[:, None] + counter * _GOLDEN) >> 32) & 0xFFFFFFFF

    def integers(self, salt: int, highs: Sequence[int]) -> Array:
        """(N, len(highs)) int64: column j uniform on [0, highs[j]) with bias below highs[j]/2^32; highs below 2^31."""
        scale = self.xp.asarray(highs, dtype=self.xp.int64, device=self.stream.device)
        return (self.bits(salt, len(highs)) * scale) >> 32

    def uniform(self, salt: int, count: int) -> Array:
        """(N, count) float64, uniform on [0, 1) in steps of 2^-32."""
        return self.xp.astype(self.bits(salt, count), self.xp.float64) * 2.0**-32

    def bernoulli(self, salt: int, probability: Array | float) -> Array:
        """(N,) bool: true with `probability`, a number or (N,), in steps of 2^-32."""
        return self.uniform(salt, 1)[:, 0] < probability

    def permutation(self, salt: int, length: int, count: int | None = None) -> Array:
        """(N, count) int64: the first `count` (None: all) of a random order of 0..length-1 in each row."""
        return self.xp.argsort(self.bits(salt, length), axis=1, stable=True)[:, :count]


def slots(seeds: Array) -> Array:
    """Hash of slot seeds (N,) int64."""
    return mix(seeds * _GOLDEN)


def streams(slots: Array, episodes: Array) -> Array:
    """The stream of each world's episode: hash of its slot (N,) and its episode number (N,), both int64."""
    return mix(slots + episodes * _GOLDEN)
