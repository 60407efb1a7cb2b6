"""Transitions in Parquet files, a batch at a time; the columns are those of `unienv.separability.shards`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from unienv.separability.codes import unsigned_zeros
from unienv.separability.tally import Rows, digests

_NAMES = ("action", "feedback", "episode")  # all other columns are modalities
_ROWS, _BYTES = 1 << 18, 1 << 26  # of a batch, at most


def look(path: Path) -> tuple[int, dict[str, str]]:
    """Number of rows of a file, and its columns other than action and feedback, with their types.

    Raises:
        ValueError: one line, for columns that are missing or of types that can't be counted.
        OSError: what pyarrow says of a file that is damaged.
    """
    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    lacking = {"action", "feedback"} - set(schema.names)
    if lacking:
        raise ValueError(f"it has no column {' and '.join(sorted(lacking))}, only {', '.join(schema.names)}")
    for field in schema:
        plain = field.type.value_type if types.is_dictionary(field.type) else field.type
        if field.name in ("action", "episode"):
            _check_type(field, types.is_integer(field.type), "integers")
        elif field.name == "feedback":
            _check_type(field, types.is_integer(plain) or _is_text(plain), "integers or words")
        else:
            _check_type(
                field, _is_text(plain) or _is_number(plain) or _is_list(plain), "numbers, words, bytes or lists"
            )
    return rows, {field.name: str(field.type) for field in schema if field.name not in ("action", "feedback")}


def read(path: Path) -> Iterator[Rows]:
    """The rows of a file that `look` let pass; a batch is as large as 64 MiB allow."""
    with pq.ParquetFile(path) as file:
        schema, size = file.schema_arrow, file.metadata
    modalities = sorted(set(schema.names) - set(_NAMES))
    repeated = [name for name in modalities if _is_text(schema.field(name).type)]  # values are kept once, as on disk
    whole = sum(size.row_group(group).total_byte_size for group in range(size.num_row_groups))
    rows = max(1, min(_ROWS, _BYTES * size.num_rows // max(1, whole)))
    with pq.ParquetFile(path, read_dictionary=repeated) as file:
        for batch in file.iter_batches(rows, use_threads=False):
            column = {name: batch.column(name) for name in schema.names}
            cells = [_digests(name, column[name]) for name in modalities]
            outcomes, feedback = _distinct("feedback", column["feedback"])
            yield Rows(
                np.stack([*cells, _integers("action", column["action"])], axis=1),
                feedback,
                tuple(map(str, outcomes.to_pylist())),
                _integers("episode", column["episode"]) if "episode" in column else None,
            )


def _check_type(field: pa.Field, fits: bool, wanted: str) -> None:
    if not fits:
        raise ValueError(f"{field.name} must hold {wanted}, it holds {field.type}")


def _digests(name: str, column: pa.Array) -> np.ndarray:
    """(n,) int64 of the values of a modality."""
    values, which = _distinct(name, _joined(name, column) if _is_list(column.type) else column)
    if not _is_number(values.type):
        words = values.to_pylist()
        return digests(word.encode() if isinstance(word, str) else word for word in words)[which]
    numbers = _finite(name, values.to_numpy(zero_copy_only=False))
    return digests(number.tobytes() for number in numbers)[which]


def _distinct(name: str, column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The distinct values (U,) of a column, and which of them stands in each row (n,)."""
    coded: Any = column if types.is_dictionary(column.type) else column.dictionary_encode()
    _check_whole(name, coded)
    return coded.dictionary, coded.indices.to_numpy().astype(np.int64)


def _integers(name: str, column: pa.Array) -> np.ndarray:
    _check_whole(name, column)
    return column.to_numpy().astype(np.int64)


def _joined(name: str, column: Any) -> pa.Array:
    """Lists of numbers as the bytes of each."""
    _check_whole(name, column)
    _check_whole(name, column.flatten())
    numbers = _finite(name, column.flatten().to_numpy(zero_copy_only=False))
    ends = np.concatenate([[0], pc.list_value_length(column).to_numpy().cumsum()]) * numbers.itemsize  # type: ignore
    buffers = [None, pa.py_buffer(ends.astype(np.int64)), pa.py_buffer(np.ascontiguousarray(numbers))]
    return pa.Array.from_buffers(pa.large_binary(), len(column), buffers)


def _check_whole(name: str, column: pa.Array) -> None:
    if column.null_count:
        raise ValueError(f"{name} lacks {column.null_count} values")


def _finite(name: str, numbers: np.ndarray) -> np.ndarray:
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        raise ValueError(f"{name} must be finite, it holds nan or infinity")
    return unsigned_zeros(numbers)


def _is_number(kind: Any) -> bool:
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


def _is_text(kind: Any) -> bool:
    """Whether a column holds words or bytes."""
    tests = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def _is_list(kind: Any) -> bool:
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return lists and _is_number(kind.value_type)
