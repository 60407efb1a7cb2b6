"""One replica of the learner: its worlds, its copy of the network, and the loop collect -> improve."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents import checkpoint
from agents.distribution import DivergedError, all_reduce_sum, found_in, num_replicas, rank, wait_for_all
from agents.foresight import foresee
from agents.imagination import imagine
from agents.network import AgentConfig, Network, make_network
from agents.play import Replay
from agents.policies import NetworkPolicy
from agents.ppo import PPOConfig, improve
from agents.rollout import Collector, Episodes, Rollout
from agents.world_model import survey
from encoders.precision import autocast, has_bfloat16
from encoders.size import count_parameters
from encoders.tensors import flat, load_tensors, save_tensors
from unienv.errors import said

MakeEnvs = Callable[[int], VectorEnv]  # number of worlds -> environments in SAME_STEP mode
_PLAY = 4  # horizons of a round of play: enough for some thousand steps with feedback worth telling
_ROWS = 256  # steps that an update of play draws, over all replicas; with 64 what is rare is never learned
_DRAWS = 2  # of a step of play, on average
_KEPT = 4096  # steps of play of a kind of feedback that are remembered, over all replicas
_REPLAY = "replay."  # prefix of its tensors in checkpoints
RUN = 1 << 20  # seeds of worlds that a run has to itself, over all its replicas
_RESTARTS = 1 << 51  # seeds of worlds that begin anew on resuming lie above it, those of runs below


class Learner:
    """PPO on N / replicas worlds of its own; replicas average gradients and so stay equal.

    Args:
        make_envs: builds the worlds.
        agent: shape of the network.
        ppo: hyperparameters; `ppo.worlds` is shared out among the replicas.
        total_steps: env steps of the whole run over all replicas, which the step size falls along.
        seed: of weights, worlds and actions.
        device: where to learn.

    Attributes:
        steps: env steps so far, over all replicas.
    """

    def __init__(
        self, make_envs: MakeEnvs, agent: AgentConfig, ppo: PPOConfig, total_steps: int, seed: int, device: torch.device
    ) -> None:
        if ppo.worlds % num_replicas():
            raise ValueError(f"ppo.worlds={ppo.worlds} can't be shared out evenly among {num_replicas()} workers")
        self.imagined = agent.imagine or 0
        self.ppo, self.total_steps, self.seed, self.device = ppo, total_steps, seed, device
        self.envs = make_envs(ppo.worlds // num_replicas())
        codebook = None if agent.imagine is None else survey(make_envs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # equal weights on every replica
            self.network: Network = make_network(
                self.envs.single_observation_space,
                self.envs.single_action_space,
                agent,
                getattr(self.envs, "vocabulary", None),
                codebook,
            ).to(device)
        self.bfloat16 = has_bfloat16(device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=ppo.lr, eps=1e-5)
        own = seed * 1009 + rank()  # randomness that replicas must not share
        self.actions = torch.Generator(device).manual_seed(2 * own)
        self.minibatches = torch.Generator().manual_seed(2 * own + 1)
        self.collector = Collector(self.envs, self.network, self.actions, seed * RUN + rank() * self.envs.num_envs)
        self.replay = Replay(max(1, _KEPT // num_replicas()))
        self.steps = 0
        self.acting = False  # play is over, and stays so when a run is made longer

    @property
    def parameters(self) -> int:
        """Trainable scalars of the network."""
        return count_parameters(self.network)

    def update(self) -> dict[str, Any]:
        """Play and learn to foresee feedback, or later collect one rollout and improve on it.

        Returns:
            steps, episodes ended, and their mean success, return and length over all replicas (None if none ended);
            and what `foresee` or `improve` tells, of this replica.

        Raises:
            DivergedError: with its experience; see `save_diverged`.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.ppo.lr * max(0.0, 1.0 - self.steps / self.total_steps)
        self.acting = self.acting or self.steps >= self.ppo.play * self.total_steps
        if not self.acting:
            to_play = math.ceil((self.ppo.play * self.total_steps - self.steps) / self.ppo.worlds)
            return self._play(min(to_play, _PLAY * self.ppo.horizon))
        self.replay.clear()
        with autocast(self.device, self.bfloat16):
            rollout, episodes = self.collector.collect(self.ppo.horizon)
        with found_in(rollout):
            told = improve(self.network, self.optimiser, rollout, self.ppo, self.minibatches, self.bfloat16)
        for _ in range(self.imagined):
            self._imagine(rollout, told["spread"])
        self.steps += self.ppo.worlds * self.ppo.horizon
        return {"steps": self.steps, **_means(episodes), **told}

    def _play(self, num_steps: int) -> dict[str, Any]:
        play, episodes = self.collector.play(num_steps)
        known = self.replay.add(play)
        with found_in(known):
            told = foresee(
                self.network,
                self.optimiser,
                known,
                math.ceil(_DRAWS * self.ppo.worlds * num_steps / _ROWS),
                max(1, _ROWS // num_replicas()),
                self.ppo.evolution,
                self.ppo.max_grad_norm,
                self.minibatches,
                self.bfloat16,
            )
        self.steps += self.ppo.worlds * num_steps
        return {"steps": self.steps, **_means(episodes), **told}

    def _imagine(self, real: Rollout, spread: float) -> None:
        """Go on from where the worlds are, in imagination, and improve on that; what feedback is, only worlds tell.

        Advantages are measured by the spread of real ones. By their own, a model that knows nothing yet, to which all
        actions are nearly equal, would teach its noise.
        """
        collector, horizon = self.collector, self.ppo.horizon
        with found_in(real), autocast(self.device, self.bfloat16):
            dreamt = imagine(
                self.network, real, collector.prepared, collector.carry, collector.start, horizon, self.actions
            )
        ppo = replace(self.ppo, feedback=0.0)
        with found_in(dreamt):
            improve(self.network, self.optimiser, dreamt, ppo, self.minibatches, self.bfloat16, spread)

    def policy(self, num_worlds: int, seed: int) -> NetworkPolicy:
        """The present policy for other worlds, with randomness of its own."""
        generator = torch.Generator(self.device).manual_seed(seed)
        return NetworkPolicy(self.network, num_worlds, generator, self.bfloat16, self.collector.actions)

    def save(self, folder: Path) -> None:
        """Write a checkpoint into a run folder; all replicas call it together.

        Raises:
            OSError: naming the file, where the disk refuses; then nothing is left of this checkpoint.
        """
        with checkpoint.begin(folder, self.steps) as aside:
            save_tensors(aside / f"worlds-{rank()}.safetensors", self._own_tensors())
            if rank() == 0:
                save_tensors(aside / "agent.safetensors", self._shared_tensors())
        wait_for_all()
        if rank() == 0:
            checkpoint.complete(aside)
        wait_for_all()  # completing sweeps away what is unfinished: nobody may have begun the next one

    def save_diverged(self, folder: Path, error: DivergedError) -> Path:
        """Write the weights and the experience by which a loss stopped being a number.

        Returns:
            This replica's file, diverged-<rank>.safetensors: network.<parameter> and experience.<field>.
        """
        path = folder / f"diverged-{rank()}.safetensors"
        save_tensors(path, {**self._weights(), **dict(flat("experience", error.experience))})
        return path

    def load(self, folder: Path) -> bool:
        """Continue from the newest checkpoint of a run folder; False when it has none.

        Worlds of this package continue bit by bit. Other environments can't be saved: they begin new episodes.

        Raises:
            ValueError: damaged files, or weights of another network.
        """
        source = checkpoint.newest(folder)
        if source is None:
            return False
        shared = load_tensors(source / "agent.safetensors")
        weights = {
            name.removeprefix("network."): value for name, value in shared.items() if name.startswith("network.")
        }
        try:
            self.network.load_state_dict(weights)
            checkpoint.restore_optimiser(self.network, self.optimiser, shared)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{source} holds another network: {said(error)}") from None
        steps = shared.get("steps", torch.empty(0))
        if steps.shape != () or steps.dtype != torch.int64 or steps < 0:
            raise ValueError(f"{source / 'agent.safetensors'} is no checkpoint: it has no count of steps")
        self.steps, self.acting = int(steps), bool(shared.get("acting", torch.tensor(True)).all())
        own = source / f"worlds-{rank()}.safetensors"
        if own.exists():  # not for a replica that joined since
            self._restore_own(own)
        return True

    def _weights(self) -> dict[str, Tensor]:
        return {f"network.{name}": value for name, value in self.network.state_dict().items()}

    def _shared_tensors(self) -> dict[str, Tensor]:
        moments = checkpoint.optimiser_tensors(self.network, self.optimiser)
        return {**self._weights(), **moments, "steps": torch.tensor(self.steps), "acting": torch.tensor(self.acting)}

    def _own_tensors(self) -> dict[str, Tensor]:
        generators = {"actions": self.actions.get_state(), "minibatches": self.minibatches.get_state()}
        replay = {_REPLAY + name: tensor for name, tensor in self.replay.tensors().items()}
        return {**generators, **self.collector.tensors(), **replay}

    def _restore_own(self, path: Path) -> None:
        tensors, mine = load_tensors(path), self._own_tensors()
        play = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_REPLAY)}
        fewer = len(tensors.get("start", ())) != self.envs.num_envs  # saved among another number of workers
        kept = {"minibatches"} if fewer else {name for name in mine if not name.startswith(_REPLAY)} - {"actions"}
        actions = tensors.pop("actions", None)
        if actions is None or any(_form(tensors.get(name)) != _form(mine[name]) for name in kept):
            raise ValueError(f"{path} holds other worlds than this run's, or is damaged")
        fresh = _hash(self.seed, rank(), self.steps)
        if _form(actions) == _form(mine["actions"]):
            self.actions.set_state(actions)
        else:  # saved on another kind of device, whose draws are others anyway
            self.actions.manual_seed(fresh)
        self.minibatches.set_state(tensors.pop("minibatches"))
        self.collector.restore({} if fewer else tensors, restart_seed=_RESTARTS + RUN * fresh)
        try:
            like = self.collector.still()
            self.replay.restore({} if fewer else {n.removeprefix(_REPLAY): t for n, t in play.items()}, like)
        except ValueError as error:
            raise ValueError(f"{path} holds other worlds than this run's, or is damaged: {error}") from None


def _hash(*numbers: int) -> int:
    """A number below 2^31 that other numbers hardly share."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0] >> 1)


def _form(tensor: Tensor | None) -> Any:
    return None if tensor is None else (tensor.shape, tensor.dtype)


def _means(episodes: Episodes) -> dict[str, Any]:
    sums = torch.tensor(
        [len(episodes.returns), sum(episodes.successes), sum(episodes.returns), sum(episodes.lengths)],
        dtype=torch.float64,
    )
    count, *rest = all_reduce_sum(sums).tolist()
    means = [value / count if count else None for value in rest]
    return {"episodes": int(count), **dict(zip(("success", "return", "length"), means, strict=True))}
