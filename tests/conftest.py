import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.contract", "tests.compare")

# The same examples every time, however long a busy machine takes over one.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")
