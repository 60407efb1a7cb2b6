"""Shards: files of transitions, of which a folder holds as many as there are; each is counted by itself.

A shard is an npz file that `Transitions.save` has written, or a Parquet file with the columns

    action      integers, equal for equal actions in all shards
    feedback    integers or words, the outcome
    episode     integers, equal where rows depend on each other; without this column no row depends on another
    any other   a modality: numbers, words, bytes (such as pictures) or lists of numbers

All shards have the same modalities of the same types. A value is its bytes: where they are equal, it is the same. An
episode lies in one shard, and the numbers of a shard's episodes in a range of their own. npz files are read as a whole,
Parquet files in batches. Shards recorded one after another need seeds further apart than environments are many, since
environment i of seed s plays as the first of seed s + i does:

    played = record(envs, 1_000_000, seed=1_000_000 * part)
    played.episode += part << 32
    played.save(f"data/{part:03d}.npz")
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import numpy as np

from unienv.errors import said
from unienv.separability.tally import Rows, Sums, Tally, merge, rows_of, sums, tally
from unienv.separability.transitions import Transitions

_KINDS = (".npz", ".parquet")


class Shard(NamedTuple):
    """A file, its number of rows, and its columns: modality -> type, and "episode" where rows have one."""

    path: Path
    rows: int
    columns: dict[str, str]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in their order."""
        return tuple(name for name in self.columns if name != "episode")


class Count(NamedTuple):
    """What a shard holds. Fields: table; span, its lowest and highest episode, None without episodes."""

    table: Tally
    span: tuple[int, int] | None


def find(place: Path) -> list[Shard]:
    """The shards of a folder, or the one that a file is, by name; of each only what it says of itself is read.

    Raises:
        ValueError: one line, when there are none, one can't be read or lacks a column, or they do not fit together.
    """
    if not place.exists():
        raise ValueError(f"there is no file or folder {place}")
    paths = [place] if place.is_file() else sorted(place.iterdir())
    paths = [path for path in paths if path.suffix in _KINDS and path.is_file()]
    if not paths:
        raise ValueError(f"{place} holds no shards: files that end in {' or '.join(_KINDS)}")
    shards = [_look(path) for path in paths]
    first = shards[0]
    for shard in shards:
        for name in {**first.columns, **shard.columns}:
            here, there = (each.columns.get(name, "missing") for each in (shard, first))
            if here != there:
                raise ValueError(
                    f"shards must be alike, but {name} is {here} in {shard.path} and {there} in {first.path}"
                )
        if not shard.rows:
            raise ValueError(f"{shard.path} holds no transitions: leave it out")
    if len(first.modalities) < 2:
        raise ValueError(
            f"non-separability needs at least two modalities, {first.path} has {', '.join(first.modalities) or 'none'}"
        )
    return shards


def read(path: Path) -> Iterator[Rows]:
    """The transitions of a shard, a batch at a time.

    Raises:
        ValueError: one line, for a file that is damaged or holds something else.
    """
    with _told_of(path):
        if path.suffix == ".npz":
            yield rows_of(Transitions.load(path))
        else:
            from unienv.separability import parquet

            yield from parquet.read(path)


def count(path: Path) -> Count:
    """Count the transitions of a shard.

    Raises:
        ValueError: one line, for a file that is damaged or holds something else.
    """
    tables: list[Tally] = []
    episodes: list[int] = []
    for rows in read(path):
        tables = [merge([*tables, tally(rows)])]
        if rows.episode is not None:
            episodes += [int(rows.episode.min()), int(rows.episode.max())]
    if not tables:
        raise ValueError(f"{path} is damaged: it tells of transitions and holds none")
    return Count(tables[0], (min(episodes), max(episodes)) if episodes else None)


def sums_of(path: Path, table: Tally, gain: np.ndarray) -> Sums:
    """Gains summed over each episode of a shard, see `unienv.separability.tally.sums`."""
    return sums(read(path), table, gain)


def check_spans(spans: Iterable[tuple[tuple[int, int], Path]]) -> None:
    """ValueError, one line, where an episode may lie in two shards, given the span of each."""
    for ((low, high), path), ((first, last), other) in pairwise(sorted(spans)):
        if first <= high:
            raise ValueError(
                f"an episode must lie in one shard, under a number of its own, but {path} has episodes {low} to {high} "
                f"and {other} {first} to {last}: number them through"
            )


def _look(path: Path) -> Shard:
    with _told_of(path):
        if path.suffix == ".npz":
            return _look_npz(path)
        from unienv.separability import parquet

        return Shard(path, *parquet.look(path))


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Whatever goes wrong in reading a file, as one line with its name."""
    try:
        yield
    except Exception as error:  # libraries raise all sorts for damaged files
        raise ValueError(f"{path} can't be read as transitions: {said(error)}") from None


def _look_npz(path: Path) -> Shard:
    with ZipFile(path) as archive:
        with archive.open("header.npy") as member:
            names = json.loads(str(np.lib.format.read_array(member, allow_pickle=False)))["modalities"]
        items = [_announced(archive, f"items{m}") for m in range(len(names))]
        columns = {name: f"{dtype}{list(shape[1:])}" for name, (shape, dtype) in zip(names, items, strict=True)}
        return Shard(path, _announced(archive, "action")[0][0], columns | {"episode": "int64"})


def _announced(archive: ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of an array in an npz file, without reading it."""
    with archive.open(f"{name}.npy") as member:
        np.lib.format.read_magic(member)
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    return shape, dtype
