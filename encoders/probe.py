"""Non-separability of feedback from pixels, by the agents' own encoders and Psi.

The separable law is the late form, every modality a stream of its own whose scores add; the joint form is a residual on
top of it. Where pictures hardly repeat and feedback is rare this finds what nets on fixed features do not see, at
several times the cost (see `unienv.separability.estimate` for those, and for what the figures mean).
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor, nn
from torch.nn import functional

from encoders.encoder import Encoder, Prepared, select
from encoders.precision import autocast, has_bfloat16
from encoders.psi import Psi, partition
from unienv.modality import TEXT
from unienv.separability.folds import check_actions
from unienv.separability.neural import Heads
from unienv.separability.result import Estimate, clustered_error, conclude, entropy_of, sizes_of, warn_of_information
from unienv.separability.transitions import Transitions

_DIM, _WIDTH, _QUERIES, _HEADS = 64, 64, 4, 4
_RATE = 2e-3
_EVENNESS = 0.75  # 0 draws outcomes as often as they occur, 1 all equally often
_CHECK = 20  # updates between looks at the inner split
_INNER = 8  # one episode in so many decides when training stops
_LOOK = 6000  # rows of a look, at most
_SETS = 33  # replicates at a time, for memory


class Held(NamedTuple):
    """What nets say of n rows that they have not seen: log laws (n, Y), and what their heads read (n, d)."""

    separable: Tensor
    joint: Tensor
    hidden: Tensor
    products: Tensor


class Probe(nn.Module):
    """Scores of the outcomes of an action, read from a form of Psi; 0 at the start.

    Args:
        space: Dict of modalities.
        form: of Psi, "late" or "joint".
        num_actions: K. outcomes: Y.
        dim: D.
    """

    def __init__(self, space: spaces.Dict, form: str, num_actions: int, outcomes: int, dim: int) -> None:
        super().__init__()
        streams = partition(form, space.spaces)
        self.encoder = Encoder(space, space.spaces, "tile", dim, _HEADS)
        self.psi = Psi(streams, self.encoder.grids, dim, _QUERIES, 1, _HEADS)
        self.trunks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(self.psi.size), nn.Linear(self.psi.size, _WIDTH), nn.GELU()) for _ in streams
        )
        self.head = nn.Linear(len(streams) * _WIDTH, num_actions * outcomes)
        self.outcomes = outcomes
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, prepared: Prepared, action: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, Y) and what the head reads (B, d)."""
        latents = self.psi(self.encoder(prepared))
        hidden = torch.cat([trunk(z) for trunk, z in zip(self.trunks, latents, strict=True)], dim=1).float()
        scores = self.head(hidden).float().unflatten(1, (-1, self.outcomes))
        return scores[torch.arange(len(action)), action], hidden


class Rows:
    """Transitions as tensors: distinct observations are prepared once.

    Args:
        transitions: with a text and pixels.
    """

    def __init__(self, transitions: Transitions) -> None:
        self.action = torch.from_numpy(np.unique(transitions.action, return_inverse=True)[1])
        self.feedback = torch.from_numpy(transitions.feedback)
        self.num_actions, self.outcomes = int(self.action.max()) + 1, len(transitions.names)
        boxes: dict[str, Any] = {}
        for name, seen in transitions.observation.items():
            high = int(seen.items.max()) if name == TEXT else 255
            boxes[name] = spaces.Box(0, high, seen.items.shape[1:], np.int32 if name == TEXT else np.uint8)
        self.space = spaces.Dict(boxes)
        items = {name: torch.from_numpy(seen.items) for name, seen in transitions.observation.items()}
        self._which = {name: torch.from_numpy(seen.which) for name, seen in transitions.observation.items()}
        with torch.random.fork_rng(devices=[]):
            self._items = Encoder(self.space, self.space.spaces, "tile", 4, 1).prepare(items)

    def observations(self, rows: Tensor) -> Prepared:
        """Prepared observations of some rows."""
        return {name: select({name: self._items[name]}, self._which[name][rows])[name] for name in self._items}


def estimate_by_psi(
    transitions: Transitions, folds: int = 5, updates: int = 400, batch: int = 1024, replicates: int = 99, seed: int = 0
) -> Estimate:
    """Estimate non-separability, and test whether there is any.

    Nets are cross-fitted over folds of episodes, on minibatches in which rare outcomes are drawn more often; adding the
    log weights of the draw to the scores in training leaves the scores those of the natural law, in the separable class
    or not. The joint net first learns feedback on its own, for what must be told before modalities can be joined (that
    something is met at all) gains nothing over the separable net; then a new head makes a residual of what it sees. The
    test refits the heads alone, within each held-out fold: on one half of its episodes, judged on the other, for the
    recorded feedback and for feedback drawn from the separable law. The nets have seen neither half. What the
    separable net left unlearned can pass for joint structure there, so that joint nets must also gain 0.001 nats
    (`unienv.separability.result.RESOLUTION`): below that p is 1.

    Args:
        transitions: with a text and pixels as modalities.
        folds: K >= 2.
        updates: of the separable and of the joint net; the residual gets a quarter.
        batch: rows of an update.
        replicates: B of the test.
        seed: equal seeds give equal numbers on one machine.
    """
    rows, generator = Rows(transitions), np.random.default_rng(seed)
    episode = np.unique(transitions.episode, return_inverse=True)[1]
    check_actions(transitions)
    if episode.max() + 1 < folds * _INNER:
        raise ValueError(f"{folds} folds need at least {folds * _INNER} episodes, got {episode.max() + 1}")
    part = generator.permutation(np.arange(episode.max() + 1) % (folds * _INNER))[episode]
    fold, n = part // _INNER, len(episode)
    gains, joint, tests = np.zeros(n), np.zeros(n), []
    ladder: dict[int, Any] = {}
    for k in range(folds):
        test = torch.from_numpy(np.flatnonzero(fold == k))
        inner = torch.from_numpy(np.flatnonzero((fold != k) & (part % _INNER == 0)))
        train = torch.from_numpy(np.flatnonzero((fold != k) & (part % _INNER > 0)))
        trainer = _Trainer(rows, train, inner, updates, batch, seed * folds + k)
        late, whole = trainer.fit("late", _DIM), trainer.fit("joint", _DIM)
        held = trainer.held_out(late, trainer.residual(whole, late), test)
        y = rows.feedback[test, None]
        joint[test] = held.joint.gather(1, y)[:, 0]
        gains[test] = (held.joint - held.separable).gather(1, y)[:, 0]
        tests.append((held, rows.action[test].numpy(), y[:, 0].numpy(), part[test] % 2))
        if k == 0:
            ladder = {_DIM: held.separable}
            for dim in (_DIM // 4, 2 * _DIM):
                ladder[dim] = trainer.held_out(trainer.fit("late", dim), None, test).separable
            ladder = {dim: -float(law.gather(1, y).mean()) for dim, law in sorted(ladder.items())}
    statistic, null = _bootstrap(tests, rows.outcomes, replicates, generator)
    entropy = entropy_of(transitions.feedback)
    information = float(joint.mean()) + entropy
    base = float(joint[fold == 0].mean())
    return conclude(
        method="psi",
        value=float(gains.mean()),
        gain=float(gains.mean()),
        error=clustered_error(gains, transitions.episode),
        statistic=statistic,
        null=null,
        information=information,
        **sizes_of(transitions),
        folds=folds,
        net_seeds=1,
        ladder=tuple((d, loss, loss + base) for d, loss in ladder.items()),
        warnings=(*warn_of_information(information, entropy), *_warnings(ladder)),
    )


class _Trainer:
    """Fits nets to some rows; `inner` decides when they stop."""

    def __init__(self, rows: Rows, train: Tensor, inner: Tensor, updates: int, batch: int, seed: int) -> None:
        self.rows, self.train, self.updates, self.batch, self.seed = rows, train, updates, batch, seed
        self.generator = Generator().manual_seed(seed)
        self.bfloat16 = has_bfloat16(train.device)
        self.inner = inner[torch.randperm(len(inner), generator=self.generator)[:_LOOK]]
        count = torch.bincount(rows.feedback[train], minlength=rows.outcomes).clamp(min=1).float()
        self.weight = (count**-_EVENNESS)[rows.feedback[train]]
        self.log_share = -_EVENNESS * count.log()

    def fit(self, form: str, dim: int) -> Probe:
        """A new net of a form."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            probe = Probe(self.rows.space, form, self.rows.num_actions, self.rows.outcomes, dim)
        return self._train(probe, None, self.updates)

    def residual(self, probe: Probe, base: Probe) -> Probe:
        """A trained net on top of a frozen one, with a new head: nothing, until the data say otherwise."""
        nn.init.zeros_(probe.head.weight)
        nn.init.zeros_(probe.head.bias)
        return self._train(probe.requires_grad_(True), base, self.updates // 4)

    def _train(self, probe: Probe, base: Probe | None, updates: int) -> Probe:
        optimiser = torch.optim.Adam(probe.parameters(), _RATE)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, updates)
        best, kept = self._loss(probe, base), {name: value.clone() for name, value in probe.state_dict().items()}
        for update in range(1, updates + 1):
            draw = torch.multinomial(self.weight, self.batch, replacement=True, generator=self.generator)
            index = self.train[draw]
            scores = self._scores(probe, base, index) + self.log_share
            loss = functional.cross_entropy(scores, self.rows.feedback[index])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(probe.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            looks = update % _CHECK == 0 or update == updates
            if looks and (now := self._loss(probe, base)) < best:
                best, kept = now, {name: value.clone() for name, value in probe.state_dict().items()}
        probe.load_state_dict(kept)
        return probe.requires_grad_(False)

    @torch.no_grad()
    def held_out(self, late: Probe, joint: Probe | None, test: Tensor) -> Held:
        """Laws of rows, and what heads read."""
        parts = []
        for index in test.split(4 * self.batch):
            scores, hidden = self._call(late, index)
            more, products = self._call(joint, index) if joint else (scores * 0, hidden[:, :0])
            parts.append((scores.log_softmax(1), (scores + more).log_softmax(1), hidden, products))
        return Held(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _call(self, probe: Probe, index: Tensor) -> tuple[Tensor, Tensor]:
        with autocast(index.device, self.bfloat16):
            return probe(self.rows.observations(index), self.rows.action[index])

    def _scores(self, probe: Probe, base: Probe | None, index: Tensor) -> Tensor:
        scores = self._call(probe, index)[0]
        return scores if base is None else scores + self._call(base, index)[0]

    @torch.no_grad()
    def _loss(self, probe: Probe, base: Probe | None) -> float:
        """Natural log-loss on the inner split."""
        scores = torch.cat([self._scores(probe, base, index) for index in self.inner.split(4 * self.batch)])
        return float(functional.cross_entropy(scores, self.rows.feedback[self.inner]))


def _bootstrap(
    tests: list[Any], outcomes: int, replicates: int, generator: np.random.Generator
) -> tuple[float, list[float]]:
    """The statistic of refitted heads, and its values on feedback drawn from the fitted separable law."""
    total, null = 0.0, np.zeros(replicates)
    rows = sum(len(y) for _, _, y, _ in tests)
    for held, action, y, half in tests:
        heads = Heads(held.hidden.numpy(), held.products.numpy(), action)
        law = held.separable.exp().double().numpy()
        bounds = (law / law.sum(axis=1, keepdims=True)).cumsum(axis=1)[:, :-1]
        total += _refit(heads, y[:, None], half, outcomes)[0] / rows
        for start in range(0, replicates, _SETS):
            sets = min(_SETS, replicates - start)
            drawn = (generator.random((len(y), sets))[..., None] > bounds[:, None]).sum(axis=2)
            null[start : start + sets] += _refit(heads, drawn, half, outcomes) / rows
    return total, null.tolist()


def _refit(heads: Heads, feedback: np.ndarray, half: np.ndarray, outcomes: int) -> np.ndarray:
    """Gain (B,) summed over rows, of heads fitted to the other half, for feedback (n, B)."""
    counts = (feedback[:, None, :] == np.arange(outcomes)[:, None]).astype(np.float32)  # (n, Y, B)
    gain = np.zeros(feedback.shape[1])
    for own in (0, 1):
        mine = (half == own).astype(np.float32)[:, None, None]
        separable, joint = heads.fit(counts * (1 - mine), 6)
        gain += ((joint - separable) * counts * mine).sum(axis=(0, 1), dtype=np.float64)
    return gain


def _warnings(ladder: dict[int, float]) -> tuple[str, ...]:
    warnings = ["method=psi is not calibrated on a dial: take the size as a rough one"]
    starved = ladder[_DIM] - min(ladder.values())
    if starved > max(1e-3, 0.05 * ladder[_DIM]):
        warnings.append(
            f"another width of the separable net is {starved:.4f} nats better; the estimate may be a false positive"
        )
    return tuple(warnings)
