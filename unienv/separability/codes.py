"""Numbers for rows: equal rows of integers get equal numbers, quickly, for millions of them."""

import numpy as np

_SPARSE = 8  # a key range within so many times the rows is looked up in a table; a wider one is sorted


def number_rows(rows: np.ndarray) -> np.ndarray:
    """The place (C,) of each row of (C, k) int among the distinct rows in lexicographic order: 0, 1, ..

    Columns are packed into one key as digits of a mixed radix, and renumbered when 62 bits would not hold the next.
    """
    key, radix = np.zeros(len(rows), np.int64), 1
    for column in rows.T:
        low, high = (int(column.min()), int(column.max())) if len(rows) else (0, 0)
        if radix * (high - low + 1) >= 1 << 62:
            column, low, high = np.unique(column, return_inverse=True)[1], 0, len(rows)
            key = _dense(key, radix)
            radix = int(key.max()) + 1
        width = high - low + 1
        key, radix = key * width + (column - low), radix * width
    return _dense(key, radix)


def first_of(numbers: np.ndarray) -> np.ndarray:
    """A place (U,) at which each of the numbers 0 .. U - 1 stands."""
    first = np.empty(int(numbers.max()) + 1 if len(numbers) else 0, np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return first


def _dense(key: np.ndarray, radix: int) -> np.ndarray:
    """Keys (C,) in [0, radix) as their places among the distinct ones."""
    if radix > _SPARSE * len(key) + 1024:
        return np.unique(key, return_inverse=True)[1]
    present = np.zeros(radix, bool)
    present[key] = True
    return (present.cumsum() - 1)[key]


def exactly(value: float) -> str:
    """A number in as few digits as tell it from all others."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


def unsigned_zeros(numbers: np.ndarray) -> np.ndarray:
    """The numbers, without -0.0: values are told apart by their bytes, and it is the number 0.0."""
    return numbers + 0.0 if numbers.dtype.kind == "f" else numbers
