"""Experiments: `run.py` and what it needs."""

import os

# Before torch is imported: its threads spin while they wait, and on a machine with other work that costs a hundredfold.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
