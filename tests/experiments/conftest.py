import pytest


@pytest.fixture
def undrawn(monkeypatch):
    """Reports of runs without their figures, for who does not look at them: drawing takes a second a report."""
    for module in ("report", "strips"):
        monkeypatch.setattr(f"experiments.{module}.plot", lambda *_, **__: "<svg></svg>")
