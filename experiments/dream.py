"""What the world model foresees of whole episodes, beside what happens in them.

Open loop: the model is given the first observation of an episode and the actions that were really taken. Of what may be
observed next it takes what it holds likeliest, and observes that in turn; what really followed it never learns.
"""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.learner import Learner
from agents.network import Network
from agents.world_model import Codes
from encoders.precision import autocast
from experiments.columns import write_columns
from experiments.config import RunConfig
from experiments.evaluate import Moment, episodes, to_watch
from unienv.modality import IMAGE, PAD, TEXT

_EPISODES, _STEPS = 4, 12  # at most


def dream(config: RunConfig, learner: Learner, path: Path) -> None:
    """Write the first episodes that `evaluate.watch` shows, with what is foreseen of them, as columns a step.

        episode, length                  its number, and its steps; of long ones the first 12 are written
        frames, text                     what was observed
        said, reward, ended              what was done, in words, and what came of it; nothing at the last observation
        imagined_frames, imagined_text   what was foreseen; of modalities that Psi does not read there is nothing
        pixels, words                    share of them foreseen rightly, in [0, 1]; of words where either text has one
        pixels_still, words_still        the same of a foresight that nothing ever changes
        chance_reward, chance_end        foreseen, of the action, in [0, 1]

    Args:
        config: of the run.
        learner: trained, with a world model.
        path: of the file, which appears whole or not at all.
    """
    envs = to_watch(config)
    rows: list[dict[str, Any]] = []
    for episode, (moments, _) in enumerate(islice(episodes(config, learner, envs), _EPISODES)):
        told = {"episode": episode, "length": len(moments) - 1}
        rows += [told | row for row in _beside(moments[: _STEPS + 1], learner, envs.vocabulary)]
    write_columns(path, rows, {})
    envs.close()


@torch.no_grad()
def open_loop(
    network: Network, first: Mapping[str, Tensor], actions: Tensor, bfloat16: bool = False
) -> tuple[Codes, Tensor]:
    """What a network foresees from one observation on.

    Args:
        network: with a world model.
        first: (1, ...) by modality.
        actions: (T, n) int64, by part.
        bfloat16: whether matrix products run in bfloat16.

    Returns:
        codes of T + 1 observations, (T + 1, P_m) by modality, those of the first as they are; and chances (T, 2): the
        reward of each action, and that it ends the episode.
    """
    evolution = network.evolution
    assert evolution is not None
    prepared, carry = network.encoder.prepare(first), network.initial_carry(1)
    codes, chances = [evolution.codes(prepared)], []
    for action in actions[:, None]:
        with autocast(actions.device, bfloat16):
            decision = network(prepared, carry)
            logits = evolution(decision.latents, decision.features, action, codes[-1])
        chances.append(network.choices.at(decision.feedback, action).sigmoid())
        codes.append({name: of.argmax(dim=-1) for name, of in logits.items()})
        prepared, carry = evolution.prepared(codes[-1]), decision.carry
    return {name: torch.cat([one[name] for one in codes]) for name in codes[0]}, torch.cat(chances)


def _beside(moments: list[Moment], learner: Learner, vocabulary: Any) -> list[dict[str, Any]]:
    """The rows of one episode."""
    device, evolution = learner.device, learner.network.evolution
    assert evolution is not None
    first = {name: torch.as_tensor(value, device=device)[None] for name, value in moments[0].observation.items()}
    actions = torch.as_tensor(np.stack([moment.action for moment in moments[:-1]]), device=device)
    codes, foreseen = open_loop(learner.network, first, actions, learner.bfloat16)
    chances = np.append(foreseen.cpu().double().numpy(), np.zeros((1, 2)), axis=0)
    words = codes[TEXT].cpu().numpy() if TEXT in codes else None
    frames = evolution.codebook.draw(codes[IMAGE], evolution.grid).cpu().numpy() if IMAGE in codes else None
    rows = []
    for step, moment in enumerate(moments):
        seen, start, last = moment.observation, moments[0].observation, step == len(moments) - 1
        row = {
            "frames": seen[IMAGE],
            "text": vocabulary.decode(seen[TEXT]),
            "said": "" if last else moment.said,
            "reward": 0.0 if last else moment.reward,
            "ended": moment.terminated and not last,
            "chance_reward": chances[step, 0],
            "chance_end": chances[step, 1],
        }
        if frames is not None:
            height, width, _ = seen[IMAGE].shape
            row["imagined_frames"] = frames[step, :height, :width]
            row["pixels"] = _alike_pixels(row["imagined_frames"], seen[IMAGE])
            row["pixels_still"] = _alike_pixels(start[IMAGE], seen[IMAGE])
        if words is not None:
            row["imagined_text"] = vocabulary.decode(words[step])
            row["words"] = _alike_words(words[step], seen[TEXT])
            row["words_still"] = _alike_words(start[TEXT], seen[TEXT])
        rows.append(row)
    return rows


def _alike_pixels(one: np.ndarray, other: np.ndarray) -> float:
    """Share of pixels that are equal in two images (H, W, C)."""
    return float((one == other).all(axis=-1).mean())


def _alike_words(one: np.ndarray, other: np.ndarray) -> float:
    """Share of places with equal words, among those where one of two texts (L,) has a word."""
    told = (one != PAD) | (other != PAD)
    return float((one == other)[told].mean()) if told.any() else 1.0
