"""Fixed features of what a modality shows: pixels and words as numbers for networks. Feedback is not looked at."""

import numpy as np

PATCH = 8  # pixels a side
_WAVES, _BANDWIDTH = 256, 0.4  # random waves tell drawn patches apart, see encoders.image
_BAG, _TONES, _PLACED = 64, 24, 192  # components kept: of what is seen, of one patch, of what is seen where
_FINE = 0.03  # scale of detailed features beside coarse ones: nets turn to them later, when the coarse ones are used up
_ONE_HOT = 512  # columns up to which numbers are taken for codes


def describe(items: np.ndarray, weight: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Fixed features (U, d) float32 of the distinct values (U, ...) of a modality; no feedback is looked at.

    Pixels (uint8 with three or more axes, the last of them channels) are cut into patches; integers are one-hot by
    place where they are few, and everything else is standardised and put through random waves.

    Args:
        items: the values.
        weight: (U,) shares of the values among the transitions, sum 1.
        generator: of the random waves.
    """
    if items.dtype == np.uint8 and items.ndim in (4, 5):
        coarse, fine = _describe_pixels(items, weight, generator)
    else:
        coarse, fine = _describe_numbers(items.reshape(len(items), -1), weight, generator)
    blocks = [coarse, _FINE * fine]
    if len(items) <= _ONE_HOT:  # an embedding a value loses nothing where values are few
        blocks.append(_FINE * _whiten(np.eye(len(items), dtype=np.float32), weight, _ONE_HOT))
    return np.concatenate(blocks, axis=1)


def _describe_pixels(
    items: np.ndarray, weight: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """What patches there are, and which of them stand where; frames of a video are places of their own."""
    patches, which = _cut(items if items.ndim == 5 else items[:, None])
    scale = _BANDWIDTH * np.sqrt(PATCH * PATCH * 3 / patches.shape[1])
    waves = generator.normal(0, scale, (patches.shape[1], _WAVES)).astype(np.float32)
    phases = generator.uniform(0, 2 * np.pi, _WAVES).astype(np.float32)
    tones = np.sin((patches.astype(np.float32) / 127.5 - 1) @ waves + phases)
    often = np.bincount(which.ravel(), np.repeat(weight, which.shape[1]), len(patches))
    tones = _whiten(tones, often / often.sum(), _WAVES, power=0)
    bag = np.zeros((len(items), tones.shape[1]), np.float32)
    for place in which.T:
        bag += tones[place]
    placed = tones[:, :_TONES][which].reshape(len(items), -1)
    return _whiten(bag, weight, _BAG), _whiten(placed, weight, _PLACED)


def _cut(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames (U, F, H, W, C) as distinct patches (T, 8 * 8 * C) and which of them stand where (U, places).

    Patches count as equal when their 64-bit hashes are.
    """
    frames = np.pad(frames, [(0, 0), (0, 0), (0, -frames.shape[2] % PATCH), (0, -frames.shape[3] % PATCH), (0, 0)])
    n, f, height, width, channels = frames.shape
    grid = frames.reshape(n, f, height // PATCH, PATCH, width // PATCH, PATCH, channels).transpose(0, 1, 2, 4, 3, 5, 6)
    patches = grid.reshape(-1, PATCH * PATCH * channels)
    words = patches.view(np.uint64)
    salts = np.random.default_rng(0).integers(1 << 62, size=words.shape[1], dtype=np.uint64) * 2 + 1
    mixed = (words ^ (words >> np.uint64(32))) * salts
    _, first, which = np.unique((mixed ^ (mixed >> np.uint64(29))).sum(axis=1), return_index=True, return_inverse=True)
    return patches[first], which.reshape(n, -1)


def _describe_numbers(
    rows: np.ndarray, weight: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Codes one-hot by place, or numbers as they are; and both in random waves, for what is not linear in them."""
    columns = [np.unique(column, return_inverse=True) for column in rows.T]
    columns = [(known, code) for known, code in columns if len(known) > 1]  # what is always the same says nothing
    if rows.dtype.kind != "f" and sum(len(known) for known, _ in columns) <= _ONE_HOT:
        codes = [np.eye(len(known), dtype=np.float32)[code] for known, code in columns]
        coarse = _whiten(np.concatenate([np.zeros((len(rows), 1), np.float32), *codes], axis=1), weight, _ONE_HOT)
    else:
        numbers = rows.astype(np.float64)
        numbers /= np.maximum(np.abs(numbers).max(axis=0), 1e-300)  # squares of what is huge are infinite ..
        numbers -= weight @ numbers  # .. and in 32 bits little would be left of small differences of large numbers
        spread = np.sqrt(weight @ numbers**2)
        coarse = _whiten((numbers / np.where(spread > 0, spread, 1)).astype(np.float32), weight, _PLACED)
    waves = generator.normal(0, 1, (coarse.shape[1], _WAVES)) * np.sqrt(2)
    bent = np.sin(coarse @ waves.astype(np.float32) + generator.uniform(0, 2 * np.pi, _WAVES).astype(np.float32))
    return coarse, _whiten(bent, weight, _PLACED)


def _whiten(x: np.ndarray, weight: np.ndarray, width: int, power: float = 1.0) -> np.ndarray:
    """Principal components (U, <= width) float32, each of the same variance; of total variance 1.

    `power=0` keeps the components' own variances.
    """
    x = x - weight.astype(np.float32) @ x
    rows = slice(None) if len(x) <= 8192 else np.random.default_rng(0).permutation(len(x))[:8192]
    share = weight[rows] / weight[rows].sum()
    value, vector = np.linalg.eigh((x[rows] * share[:, None]).T @ x[rows])
    kept = [i for i in np.argsort(-value)[:width] if value[i] > 1e-5 * value.max() and value[i] > 1e-12]
    size = value[kept] ** (1 - power)
    scale = value[kept] ** (-power / 2) / np.sqrt(size.sum() if len(kept) else 1)
    return (x @ (vector[:, kept] * scale)).astype(np.float32)
