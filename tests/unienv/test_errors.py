import pytest

from unienv.errors import named, said


@pytest.mark.parametrize(
    ("error", "message", "whole"),
    [
        (ValueError("one\n  line,\tplease"), "one line, please", "ValueError: one line, please"),
        (KeyError("size"), "'size'", "KeyError: 'size'"),
        (TimeoutError(), "", "TimeoutError:"),
    ],
)
def test_an_error_says_one_line_with_and_without_its_class(error, message, whole):
    assert said(error) == message
    assert named(error) == whole
