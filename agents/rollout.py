"""Experience: N worlds stepped T times by the current policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from gymnasium.vector import VectorEnv
from torch import Generator, Tensor

from agents.distribution import found_in
from agents.network import Network
from agents.play import Play
from agents.world_model import Codes, last_observations
from encoders.encoder import Prepared, merge
from unienv.actions import Actions


class Rollout(NamedTuple):
    """T steps of N worlds, time first.

    Fields:
        observations: prepared for the encoder, (T * N, ...) by modality.
        start: (T, N) bool, steps at which an episode starts.
        carry: (N, S, hidden), memory before the first step.
        actions: (T, N, n) int64, by part; log_probs: (T, N), of the policy that acted.
        values: (T, N), V(o_t); next_values: (T, N), V of what followed within the episode.
        rewards: (T, N); terminated, truncated: (T, N) bool.
        following: codes (T * N, P_m) by modality of what each step led to; empty where nobody foresees it.
    """

    observations: Prepared
    start: Tensor
    carry: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    next_values: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    following: Codes = MappingProxyType({})


@dataclass
class Episodes:
    """Episodes that ended during a rollout: undiscounted returns, lengths in steps, successes."""

    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    successes: list[bool] = field(default_factory=list)


class Collector:
    """Steps a vector environment in SAME_STEP mode and remembers where it stands between rollouts.

    Args:
        envs: N worlds; observations are numpy arrays, or tensors on the network's device.
        network: the policy.
        generator: of the actions, on the network's device.
        seed: of the worlds; world i gets seed + i.
    """

    def __init__(self, envs: VectorEnv, network: Network, generator: Generator, seed: int) -> None:
        self.envs, self.network, self.generator = envs, network, generator
        self.device = generator.device
        world = getattr(envs, "world", None)
        self.takes_tensors = world is not None and world.backend == "torch"
        observation, _ = envs.reset(seed=seed)
        self.prepared = self._prepare(observation)
        self.actions = Actions(envs.single_action_space)
        self.carry = network.initial_carry(envs.num_envs)
        self.start = torch.ones(envs.num_envs, dtype=torch.bool, device=self.device)
        self.returns = torch.zeros(envs.num_envs, dtype=torch.float64)
        self.lengths = torch.zeros(envs.num_envs, dtype=torch.int64)

    @torch.no_grad()
    def collect(self, num_steps: int) -> tuple[Rollout, Episodes]:
        """T = num_steps steps of all worlds."""
        carry, episodes, steps = self.carry, Episodes(), []
        for _ in range(num_steps):
            steps.append(self._step(episodes))
        last = self.network(self.prepared, self.carry, self.start[None]).value
        columns = dict(zip(_COLUMNS, zip(*steps, strict=True), strict=True))
        stacked = {
            name: torch.stack(column) for name, column in columns.items() if name not in ("observations", "following")
        }
        observations, codes = merge(columns["observations"]), _join(columns["following"])
        # The value of what follows is the next step's, but at a truncation it is that of the last observation.
        next_values = torch.cat([stacked["values"][1:], last[None]])
        stacked["next_values"] = torch.where(stacked["truncated"], stacked["next_values"], next_values)
        return Rollout(observations=observations, carry=carry, following=codes, **stacked), episodes

    @torch.no_grad()
    def play(self, num_steps: int) -> tuple[Play, Episodes]:
        """T = num_steps steps of all worlds by uniform actions; the network is not asked."""
        episodes, steps = Episodes(), []
        for _ in range(num_steps):
            prepared = self.prepared
            action = self.network.choices.uniform(self.envs.num_envs, self.generator)
            after, reward, terminated, over, info = self._advance(action, episodes)
            self.prepared, self.carry, self.start = self._prepare(after), torch.zeros_like(self.carry), over
            steps.append((prepared, self._following(over, info), action, reward.float(), terminated))
        observations, following, *columns = zip(*steps, strict=True)
        columns = [torch.cat(column) for column in columns]
        return Play(merge(observations), *columns, following=_join(following)), episodes

    def still(self) -> Play:
        """N steps of the form of those that `play` takes, none of them taken."""
        count, evolution = self.envs.num_envs, self.network.evolution
        actions = torch.zeros(count, len(self.actions.nvec), dtype=torch.int64, device=self.device)
        rewards, terminated = torch.zeros(count, device=self.device), torch.zeros_like(self.start)
        following = {} if evolution is None else evolution.codes(self.prepared)
        return Play(self.prepared, actions, rewards, terminated, following)

    def tensors(self) -> dict[str, Tensor]:
        """Memory, tallies and, for worlds that can be saved, their snapshot."""
        worlds = self.envs.snapshot() if hasattr(self.envs, "snapshot") else {}  # type: ignore[attr-defined]
        saved = {f"worlds.{name}": torch.from_numpy(value) for name, value in worlds.items()}
        return {**saved, "carry": self.carry, "start": self.start, "returns": self.returns, "lengths": self.lengths}

    def restore(self, tensors: Mapping[str, Tensor], restart_seed: int) -> None:
        """The inverse of `tensors`; worlds that can't be saved begin new episodes from `restart_seed`."""
        worlds = {name.removeprefix("worlds."): x.numpy() for name, x in tensors.items() if name.startswith("worlds.")}
        if not worlds:
            self.prepared = self._prepare(self.envs.reset(seed=restart_seed)[0])
            return
        self.prepared = self._prepare(self.envs.restore(worlds))  # type: ignore[attr-defined]
        self.carry, self.start = tensors["carry"].to(self.device), tensors["start"].to(self.device)
        self.returns, self.lengths = tensors["returns"], tensors["lengths"]

    def _step(self, episodes: Episodes) -> tuple[Any, ...]:
        prepared, start = self.prepared, self.start
        decision = self.network(prepared, self.carry, start[None])
        choices = self.network.choices
        log_probs = choices.log_probs(decision.logits)
        with found_in(prepared):
            action = choices.sample(log_probs, self.generator)
        after, reward, terminated, over, info = self._advance(action, episodes)
        truncated = over & ~terminated
        final_values = self._final_values(info, truncated, decision.carry)
        self.prepared, self.carry, self.start = self._prepare(after), decision.carry, over
        taken = choices.at(log_probs, action)
        following = self._following(over, info)
        told = (taken, decision.value, final_values, reward.float(), terminated, truncated)
        return prepared, following, start, action, *told

    def _advance(self, action: Tensor, episodes: Episodes) -> tuple[Any, Tensor, Tensor, Tensor, Mapping[str, Any]]:
        """Step the worlds: observation, reward, terminated, terminated or truncated, info."""
        sent = action if self.takes_tensors else action.cpu().numpy()
        after, reward, terminated, truncated, info = self.envs.step(self.actions.join(sent))
        reward, terminated, truncated = (self._tensor(x) for x in (reward, terminated, truncated))
        over = terminated | truncated
        self._count(episodes, reward.cpu(), over.cpu(), info)
        return after, reward, terminated, over, info

    def _final_values(self, info: Mapping[str, Any], truncated: Tensor, carry: Tensor) -> Tensor:
        """(N,) values of the last observations of truncated episodes, 0 elsewhere."""
        values = torch.zeros(self.envs.num_envs, device=self.device)
        where = truncated.nonzero()[:, 0]
        if len(where):
            going_on = torch.zeros(1, len(where), dtype=torch.bool, device=self.device)
            values[where] = self.network(self._last(info, where), carry[where], going_on).value
        return values

    def _following(self, over: Tensor, info: Mapping[str, Any]) -> Codes:
        """Codes (N, P_m) of what the last step led to, the ends of episodes in place of the next ones' beginnings."""
        evolution = self.network.evolution
        if evolution is None:
            return {}
        codes, where = evolution.codes(self.prepared), over.nonzero()[:, 0]
        if len(where):
            for name, last in evolution.codes(self._last(info, where)).items():
                codes[name][where] = last
        return codes

    def _last(self, info: Mapping[str, Any], where: Tensor) -> Prepared:
        return self._prepare(last_observations(info, where.tolist()))

    def _count(self, episodes: Episodes, reward: Tensor, over: Tensor, info: Mapping[str, Any]) -> None:
        self.returns += reward
        self.lengths += 1
        if not over.any():
            return
        where = over.nonzero()[:, 0]
        episodes.returns += self.returns[where].tolist()
        episodes.lengths += self.lengths[where].tolist()
        episodes.successes += torch.as_tensor(info["final_info"]["success"]).cpu()[where].tolist()
        self.returns[where] = 0.0
        self.lengths[where] = 0

    def _prepare(self, observation: Mapping[str, Any]) -> Prepared:
        return self.network.encoder.prepare({key: self._tensor(value) for key, value in observation.items()})

    def _tensor(self, array: Any) -> Tensor:
        return torch.as_tensor(array, device=self.device)


_COLUMNS = (
    "observations", "following", "start", "actions",
    "log_probs", "values", "next_values", "rewards", "terminated", "truncated",
)  # fmt: skip


def _join(codes: Sequence[Codes]) -> Codes:
    """Codes of several steps one after the other."""
    return {name: torch.cat([one[name] for one in codes]) for name in codes[0]}
