"""Experiments: `run.py` and what it needs."""
