"""Networks for non-separability from samples: a separable net, then a joint residual on top, many of each at a time.

What costs time is done once. Pixels and words become fixed features of the distinct values of a modality; rows with
equal observations and action are one cell with counts; and the nets of all folds, seeds and data sets are one ensemble
of batched products. The residual is a sum of products of one learned score a modality, read by a small net whose output
starts at zero, so that it is nothing until the data say otherwise. torch is imported in functions: unienv needs none.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

_RIDGE = 1.0  # nats, of heads over features of unit size
_FLOOR = 0.02  # least curvature of an outcome in Newton's steps, so that rare ones don't overshoot


@dataclass(frozen=True)
class Cells:
    """The distinct combinations of observations and action that occur.

    Fields:
        features: of each modality, (U, d) float32, one row a distinct value.
        values: (C, M) int64, the value of each modality in each cell.
        action: (C,) int64 in [0, K).
    """

    features: tuple[np.ndarray, ...]
    values: np.ndarray
    action: np.ndarray


@dataclass(frozen=True)
class Sizes:
    """Hidden units of an expert, products of scores, and steps, learning rates and cells a batch of training.

    The separable net is trained hard, for what it fails to learn would pass for non-separability.
    """

    width: int = 64
    products: int = 64
    separable_steps: int = 300
    separable_rate: float = 1e-2
    joint_steps: int = 200
    joint_rate: float = 5e-3
    batch: int = 2048


@dataclass(frozen=True)
class Nested:
    """What an ensemble of E nets says of C cells.

    Fields:
        separable, joint: (E, C, Y) float32, log q.
        hidden: (E, C, d) float32, what the separable heads read: hidden units of every expert.
        products: (E, C, R) float32, what the joint head reads.
    """

    separable: np.ndarray
    joint: np.ndarray
    hidden: np.ndarray
    products: np.ndarray


def fit_nested(
    cells: Cells, counts: np.ndarray, inner: np.ndarray, sizes: Sizes, seed: int, joint: bool = True
) -> Nested:
    """Train E separable nets, freeze them, and train a residual on all modalities on top of each.

    Args:
        cells: what the nets see.
        counts: (E, C, Y) float32, training data of each member.
        inner: (E, C, Y) float32, on which each member chooses when to stop; the residual may stop where it starts.
        sizes: of nets and training.
        seed: of initial weights and order.
        joint: False leaves the residual out.
    """
    import torch
    from torch.nn import functional

    chance = torch.Generator().manual_seed(seed)
    members, outcomes, actions = len(counts), counts.shape[2], int(cells.action.max()) + 1
    train, check = torch.from_numpy(counts), torch.from_numpy(inner)
    tables = [torch.from_numpy(x) for x in cells.features]
    values, action = torch.from_numpy(cells.values), torch.from_numpy(cells.action)
    every, checked = torch.arange(len(action)), check.sum((0, 2)).nonzero()[:, 0]

    def normal(*shape: int, scale: float = 1.0) -> Any:
        return (torch.randn(members, *shape, generator=chance) * scale).requires_grad_(True)

    def encode(net: dict[str, Any], modality: int, index: Any, read: Any) -> Any:
        """Hidden units of a batch, through `read`; over values or over rows, whichever are fewer."""
        table, rows = tables[modality], values[index, modality]
        few = len(table) <= len(index)
        x = table if few else table[rows]
        flat = x @ net["in"].transpose(0, 1).flatten(1)
        out = read(functional.gelu(flat.unflatten(1, (members, -1)).transpose(0, 1) + net["bias"]))
        return out[:, rows] if few else out

    def of_action(logits: Any, index: Any) -> Any:
        return logits.unflatten(2, (actions, outcomes))[:, torch.arange(len(index)), action[index]]

    def hidden(index: Any) -> Any:
        return torch.cat([encode(net, m, index, lambda h: h) for m, net in enumerate(experts)], 2)

    def separable(index: Any) -> Any:
        parts = [
            encode(net, m, index, lambda h, net=net: h @ net["out"] + net["base"]) for m, net in enumerate(experts)
        ]
        return of_action(torch.stack(parts).sum(0), index)

    def product_units(index: Any) -> Any:
        scores = [encode(net, m, index, lambda h, net=net: h @ net["out"]) for m, net in enumerate(lenses)]
        # All products of two or more: what stays of prod (1 + u_m) without the parts of single modalities.
        products = torch.stack([1 + u for u in scores]).prod(0) - 1 - torch.stack(scores).sum(0)
        return functional.gelu(torch.baddbmm(top["bias"], products, top["in"]))

    def log_law(logits: Any, index: Any) -> Any:
        with torch.no_grad():
            return functional.log_softmax(torch.cat([logits(part) for part in index.split(4 * sizes.batch)], 1), -1)

    def train_on(parameters: list[Any], logits: Any, steps: int, rate: float) -> None:
        """Adam with a cosine to zero; every member keeps its weights of the epoch that was best on the inner split."""
        optimiser = torch.optim.Adam(parameters, rate, betas=(0.9, 0.98))
        batches = -(-len(every) // sizes.batch)
        epochs = max(1, -(-steps // batches))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min(1, (step + 1) / 20) * (1 + np.cos(np.pi * step / (epochs * batches))) / 2
        )
        total = train.sum((1, 2)).clamp(min=1)
        best, kept = torch.full((members,), torch.inf), [p.detach().clone() for p in parameters]
        for epoch in range(epochs + 1):
            score = -(check[:, checked] * log_law(logits, checked)).sum((1, 2))
            better = score < best
            best = torch.where(better, score, best)
            for keep, parameter in zip(kept, parameters, strict=True):
                keep[better] = parameter.detach()[better]
            if epoch == epochs:
                break
            for index in torch.randperm(len(every), generator=chance).split(sizes.batch):
                law = functional.log_softmax(logits(index), -1)
                loss = (-(train[:, index] * law).sum((1, 2)) / total).sum() * (len(every) / len(index))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        with torch.no_grad():
            for keep, parameter in zip(kept, parameters, strict=True):
                parameter.copy_(keep)

    experts, lenses = [], []
    for table in tables:
        shape, width = table.shape[1], sizes.width
        experts.append({"in": normal(shape, width), "bias": normal(1, width, scale=0.5)})
        experts[-1] |= {
            "out": normal(width, actions * outcomes, scale=0),
            "base": normal(1, actions * outcomes, scale=0),
        }
        lenses.append({"in": normal(shape, width), "bias": normal(1, width, scale=0.5)})
        lenses[-1] |= {"out": normal(width, sizes.products, scale=width**-0.5)}
    top = {"in": normal(sizes.products, sizes.products, scale=sizes.products**-0.5)}
    top["bias"] = normal(1, sizes.products, scale=0.1)
    head = normal(sizes.products, actions * outcomes, scale=0)
    train_on([p for net in experts for p in net.values()], separable, sizes.separable_steps, sizes.separable_rate)
    base = log_law(separable, every)
    if not joint:
        return Nested(base.numpy(), base.numpy(), np.empty(0), np.empty(0))

    def nested(index: Any) -> Any:
        return base[:, index] + of_action(product_units(index) @ head, index)

    train_on([p for net in [*lenses, top] for p in net.values()] + [head], nested, sizes.joint_steps, sizes.joint_rate)
    with torch.no_grad():
        return Nested(base.numpy(), log_law(nested, every).numpy(), hidden(every).numpy(), product_units(every).numpy())


class Heads:
    """The last layers alone, by ridge regression with Newton's steps, a batch of B data sets at once.

    Both layers of features stay as a nested fit left them; heads of each action are regressions of their own.

    Args:
        hidden: (C, d) what the separable head reads, of one fold. products: (C, R) what the residual reads.
        action: (C,) int in [0, K).
    """

    def __init__(self, hidden: np.ndarray, products: np.ndarray, action: np.ndarray) -> None:
        self.rows = [np.flatnonzero(action == a) for a in range(int(action.max()) + 1)]
        self.inputs = [_unit_size(np.concatenate([hidden, np.ones_like(hidden[:, :1])], axis=1)), _unit_size(products)]
        self.start: list[np.ndarray | None] = [None] * len(self.rows)

    def fit(self, counts: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """log q (C, Y, B) float32 of separable and of joint heads fitted to counts (C, Y, B).

        The first call sets where later ones start: a replicate is near the fit that it was drawn from.
        """
        separable = np.zeros(counts.shape, np.float32)
        joint = np.zeros(counts.shape, np.float32)
        for a, rows in enumerate(self.rows):
            plain, mixed = (x[rows] for x in self.inputs)
            nothing = np.zeros((len(rows), *counts.shape[1:]), np.float32)
            separable[rows], weights = _regress(plain, counts[rows], nothing, self.start[a], steps)
            joint[rows], _ = _regress(mixed, counts[rows], separable[rows], None, steps)
            if self.start[a] is None:
                self.start[a] = weights
        return separable, joint


def _regress(
    x: np.ndarray, counts: np.ndarray, offset: np.ndarray, start: np.ndarray | None, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial ridge regressions: log q (R, Y, B) and weights (Y, d, B).

    A step takes outcomes one by one with curvature x' diag(n q_y) x. A cell's total being given, this is the full
    Fisher information along all directions that matter where q varies little, and bounds it elsewhere. The B data sets
    share the curvature of their mean.
    """
    outcomes, width, sets = counts.shape[1], x.shape[1], counts.shape[2]
    total = counts.sum(axis=1, keepdims=True)
    weights = np.zeros((outcomes, width, sets), np.float32) + (0 if start is None else start)
    law = _log_softmax(offset + np.stack([x @ w for w in weights], axis=1))
    for _ in range(steps):
        q = np.exp(law)
        pull = counts - total * q
        curve = (total * np.maximum(q, _FLOOR)).mean(axis=2)
        for y in range(outcomes):
            hessian = (x * curve[:, y, None]).T @ x + _RIDGE * np.eye(width, dtype=np.float32)
            weights[y] += np.linalg.solve(hessian, x.T @ pull[:, y] - _RIDGE * weights[y])
        law = _log_softmax(offset + np.stack([x @ w for w in weights], axis=1))
    return law, weights


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over axis 1."""
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _unit_size(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.sqrt((x**2).mean(axis=0)), 1e-6)
