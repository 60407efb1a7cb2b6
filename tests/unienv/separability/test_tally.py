import numpy as np
import pytest

from unienv.separability.estimate import estimate
from unienv.separability.plugin import fit
from unienv.separability.result import clustered_error
from unienv.separability.tally import digests, merge, rows_of, sums, tally
from unienv.separability.transitions import Transitions


def draw(n, seed=0):
    generator = np.random.default_rng(seed)
    text, image, action = (generator.integers(0, high, n) for high in (5, 4, 3))
    observation = {"text": np.stack([text, text * 7], axis=1).astype(np.int32), "image": image * 0.5}
    feedback = (generator.random(n) < 0.3 + 0.1 * text * (image > 1)).astype(int) + 2 * (generator.random(n) < 0.001)
    names = ("wrong", "right", "wrong, ends", "right, ends")
    return Transitions(observation, action, feedback, np.sort(generator.integers(0, n // 5 + 1, n)), names)


def parts_of(transitions, cuts):
    return [rows_of(transitions.select(rows)) for rows in np.split(np.arange(len(transitions)), cuts)]


def same(one, other):
    return one.names == other.names and (one.cells == other.cells).all() and (one.count == other.count).all()


def test_counts_are_those_of_counting_one_by_one():
    data = draw(400)
    told, rows = tally(rows_of(data)), rows_of(data)
    assert told.count.sum() == 400 and (told.count.sum(axis=0) > 0).all()
    for cell, count in zip(told.cells, told.count, strict=True):
        mine = (rows.cells == cell).all(axis=1)
        assert [(mine & (data.feedback == data.names.index(name))).sum() for name in told.names] == count.tolist()
    assert told.names == tuple(sorted(data.names[y] for y in set(data.feedback)))
    assert told.cells.tolist() == sorted(told.cells.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_any_parts_in_any_order_add_up_to_the_whole(seed):
    generator, data = np.random.default_rng(seed), draw(300, seed)
    parts = [tally(part) for part in parts_of(data, np.sort(generator.permutation(np.arange(1, 300))[:6]))]
    whole = tally(rows_of(data))
    assert same(merge(parts), whole) and same(merge(parts[::-1]), whole)
    assert same(merge([merge(parts[:2]), *parts[2:]]), whole)


def test_outcomes_are_known_by_name_and_modalities_by_theirs():
    data = draw(300)
    renumbered = data.replace(3 - data.feedback, data.names[::-1])
    turned = Transitions(dict(reversed(data.observation.items())), data.action, data.feedback, names=data.names)
    assert same(tally(rows_of(renumbered)), tally(rows_of(data)))
    assert same(tally(rows_of(turned)), tally(rows_of(data)))


def test_sums_over_episodes_do_not_depend_on_where_rows_are_cut():
    data = draw(500)
    rows, generator = rows_of(data), np.random.default_rng(0)
    table = tally(rows)
    gain = generator.integers(-(1 << 40), 1 << 40, table.count.shape)
    told = sums([rows], table, gain)
    assert told == sums(parts_of(data, [3, 77, 200]), table, gain)
    cell = {tuple(cell): c for c, cell in enumerate(table.cells.tolist())}
    total = {}
    for place, episode, y in zip(rows.cells.tolist(), data.episode.tolist(), data.feedback.tolist(), strict=True):
        total[episode] = total.get(episode, 0) + int(gain[cell[tuple(place)], table.names.index(data.names[y])])
    assert told.squares == sum(x * x for x in total.values()) and told.episodes == len(total)


def test_the_error_is_that_of_rows_clustered_by_episode():
    data = draw(2000)
    found, fitted, rows = estimate(data, "table", replicates=19), fit(tally(rows_of(data))), rows_of(data)
    share = fitted.table.count / 2000
    cell = {tuple(cell): c for c, cell in enumerate(fitted.table.cells.tolist())}
    outcome = [fitted.table.names.index(data.names[y]) for y in data.feedback]
    at = [cell[tuple(place)] for place in rows.cells.tolist()], outcome
    gains = np.log(share[at] / fitted.law[at])
    assert gains.mean() == pytest.approx(found.gain, rel=1e-9)
    assert found.standard_error == pytest.approx(clustered_error(gains, data.episode), rel=1e-7)


def test_values_are_told_apart_by_all_of_their_bytes():
    values = [bytes([a, b]) for a in range(256) for b in range(256)]
    assert len(set(digests(values).tolist())) == len(values)
    assert (digests(values) == digests(iter(values))).all() and digests([]).shape == (0,)
