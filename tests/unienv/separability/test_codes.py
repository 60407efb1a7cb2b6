import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from unienv.separability.codes import first_of, number_rows

WIDE = st.integers(-(2**40), 2**40)


@given(arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.integers(-2, 2) | WIDE))
def test_numbers_are_the_places_among_distinct_rows(rows):
    """Packed keys, tables and sorts alike: columns of any range, also where 62 bits do not hold their product."""
    _, expected = np.unique(rows, axis=0, return_inverse=True)
    np.testing.assert_array_equal(number_rows(rows), expected.ravel())


@given(arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 5)))
def test_first_of_finds_each_number(column):
    numbers = number_rows(column[:, None])
    first = first_of(numbers)
    np.testing.assert_array_equal(numbers[first], np.arange(numbers.max() + 1))
    assert all((numbers[:place] != number).all() for number, place in enumerate(first))


def test_rows_without_columns_are_all_equal():
    assert number_rows(np.zeros((3, 0), np.int64)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("high", [10, 2**40])
def test_nothing_has_no_numbers(high):
    assert number_rows(np.full((0, 2), high)).tolist() == [] and first_of(np.zeros(0, np.int64)).tolist() == []
