"""The summary of an imagination study as a run might leave it, made up."""

import numpy as np

# Cell, exact nats of signal, text and image, and what the product form lost of them.
CELLS = (
    ("match-0", (0.0, 0.0, 0.0), (0.0004, 0.0, 0.0012)),
    ("match-0.5", (0.1733, 0.0, 0.0), (0.1721, 0.0, -0.0006)),
    ("match-1", (0.6931, 0.0, 0.0), (0.6935, 0.0, 0.0009)),
    ("manual-0", (0.0, 0.0, 0.0), (0.0003, 0.0001, 0.0021)),
    ("manual-1", (0.0131, 0.0, 0.0131), (0.0088, 0.0002, 0.0023)),
    ("goto", (0.1338, 0.0, 0.0), (0.124, 0.0001, 0.0015)),
    ("terminal", (0.0, 0.0, 0.0), (-0.0011, 0.0037, 0.0005)),
)
LEARNERS = {"model-free": (0.61, 11.0), "two epochs": (0.66, 19.0), "auxiliary": (0.63, 17.0), "imagine": (0.79, 44.0)}


def estimate(values):
    values = np.asarray(values)
    reach = 2.776 * values.std(ddof=1) / len(values) ** 0.5  # Student's t of five
    mean = values.mean()
    return {"value": float(mean), "low": float(mean - reach), "high": float(mean + reach), "n": len(values)}


def make_cell(rng, name, exact, lost):
    parts = {}
    for part, must, does in zip(("signal", "end", "text", "image"), (*exact[:1], None, *exact[1:]),
                                (*lost[:1], 0.0, *lost[1:]), strict=True):  # fmt: skip
        joint = 0.05 + rng.normal(0, 0.001, 5)
        gaps = does + rng.normal(0, 0.0007, 5)
        parts[part] = {"exact": must, "joint": estimate(joint), "late": estimate(joint + gaps), "lost": estimate(gaps)}
    env, _, coupling = name.partition("-")
    parameters = {"num_colours": 2} | ({"coupling": float(coupling)} if coupling else {})
    return {"name": name, "env": env, "parameters": parameters, "parts": parts}


def make_world(rng, env, steps, gain):
    base = LEARNERS["model-free"][0] + rng.normal(0, 0.05, 5)
    learners = {}
    for name, (level, seconds) in LEARNERS.items():
        gaps = gain * (level - LEARNERS["model-free"][0]) + rng.normal(0, 0.03, 5)
        scores = base if name == "model-free" else base + gaps
        learners[name] = {
            "scores": {str(seed): float(score) for seed, score in enumerate(scores)},
            "score": estimate(scores),
            "success": estimate(scores * 0.9),
            "seconds": seconds,
            "difference": None if name == "model-free" else estimate(gaps),
            "p": None if name == "model-free" else 0.0625,
            "commands": {
                str(seed): f"python experiments/run.py env={env} steps={steps} seed={seed} # {name}"
                for seed in range(5)
            },
        }
    settings = ["env.size=3", f"steps={steps}"]
    return {"env": env, "settings": settings, "steps": steps, "random": 0.21, "oracle": 0.93, "learners": learners}


def make_summary():
    """What a whole study leaves."""
    rng = np.random.default_rng(0)
    return {
        "command": "python experiments/run.py study=imagination",
        "seconds": 5121.4,
        "versions": {"python": "3.12.3", "torch": "2.6.0"},
        "hardware": {"cpu": "a processor", "cores": 4},
        "config": {"study": "imagination", "seeds": 5, "episodes": 1000, "ray": {"workers": 4}},
        "failed": {"model-goto-late-4": "ValueError: no such thing"},
        "cells": [make_cell(rng, *cell) for cell in CELLS],
        "agents": [make_world(rng, "match", 30_000, 1.0), make_world(rng, "goto", 80_000, 0.4)],
        "claims": [
            {"claim": "The product form loses what it must", "verdict": "does not hold", "evidence": "manual-1 image"},
            {"claim": "It loses nothing elsewhere", "verdict": "holds", "evidence": "within 0.01 nats"},
            {"claim": "Imagined rollouts help in match", "verdict": "not decided", "evidence": "p = 0.06"},
        ],
    }
