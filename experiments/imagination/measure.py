"""World models that are fitted to random play, and what they foresee of play that they have not seen.

A joint model and one in product form learn in the same way. What the second loses is an estimate of what no product
form can know: of the signal l, its non-separability; of the next observations, the influence of one modality on
another. All in nats a step, under uniform actions.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from agents.distribution import descend
from agents.learner import Learner
from agents.network import AgentConfig, Decision, Network
from agents.play import Play
from agents.ppo import PPOConfig
from agents.world_model import evolution_losses
from encoders.precision import autocast
from experiments.imagination.plan import ROUNDS, UPDATES, Cell
from unienv.adapt import make_vector
from unienv.registry import make_world
from unienv.separability.exact import exact

PARTS = ("signal", "end", "text", "image")

_WORLDS, _STEPS = 256, 4  # of an update
_ENDLESS = 1 << 80  # steps: over the rounds of play the step size does not fall
_HELD_OUT, _CLIP = 25, 2.0
_UNSEEN = 10_007  # seeds apart from those of training


def measure(cell: Cell, form: str, seed: int, rounds: int = ROUNDS, updates: int = UPDATES) -> dict[str, float]:
    """Fit a world model of a form to play, and measure it on other play: -log p in nats a step, by part.

    First rare feedback has an equal share, as when agents play: what an attempt at a door brings would drown in steps
    that bring nothing. Then everything has the share that it has, so that probabilities come true.

    Args:
        cell: the world.
        form: of Psi.
        seed: of weights and play.
        rounds: of balanced play, which an agent's learner makes.
        updates: of the second part, each on fresh play.
    """
    learner = _make(cell, form, seed)
    optimiser, network = learner.optimiser, learner.network
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, updates)
    for _ in range(rounds):
        learner.update()
    for _ in range(updates):
        play, _ = learner.collector.play(_STEPS)
        with autocast(learner.device, learner.bfloat16):
            loss = torch.stack([part.mean() for part in losses(network, play).values()]).sum()
        descend(network, optimiser, loss, _CLIP)
        schedule.step()
    unseen = _make(cell, form, seed + _UNSEEN).collector
    parts: list[dict[str, Tensor]] = []
    with torch.no_grad():
        for _ in range(_HELD_OUT):
            play, _ = unseen.play(_STEPS)
            parts.append(losses(network, play))
    return {part: float(torch.cat([one[part] for one in parts]).mean()) for part in parts[0]}


def losses(network: Network, play: Play) -> dict[str, Tensor]:
    """-log p of each step (B,), in nats: of whether l > 0, of whether the episode ends, of what follows by modality."""
    assert network.evolution is not None
    decision: Decision = network(play.observations, network.initial_carry(len(play.actions)))
    log_odds = network.choices.at(decision.feedback, play.actions)
    told = torch.stack([play.rewards > 0, play.terminated], dim=1).float()
    signal, end = functional.binary_cross_entropy_with_logits(log_odds, told, reduction="none").unbind(dim=1)
    codes = network.evolution.codes(play.observations)
    logits = network.evolution(decision.latents, decision.features, play.actions, codes)
    return {"signal": signal, "end": end, **evolution_losses(logits, play.following)}


def exact_figures(cell: Cell) -> dict[str, float]:
    """What no product form can know, in nats a step: of the signal, and of the next observation of each modality."""
    told = exact(make_world(cell.env, **cell.parameters))
    figures = {"signal": told.total("signal", "nonseparability") / told.length}
    for index, name in enumerate(told.modalities):
        figures[name] = sum(step.alive * step.output.influence[index] for step in told.steps) / told.length
    return figures


def _make(cell: Cell, form: str, seed: int) -> Learner:
    ppo = PPOConfig(worlds=_WORLDS, play=1.0, evolution=1.0, max_grad_norm=_CLIP)
    agent = AgentConfig(psi=form, imagine=0)
    make = partial(make_vector, cell.env, **cell.parameters)
    return Learner(make, agent, ppo, total_steps=_ENDLESS, seed=seed, device=torch.device("cpu"))
