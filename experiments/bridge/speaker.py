"""A speaker in `describe`: what it sees becomes a state, and a text head says which object may be meant.

The text names a colour and two objects have it, so of what it sees nobody can tell which of them is meant. The law of
what is to be said is a fair mixture of two utterances, "ring 2" or "disk 4", whose words hang together. Per utterance,
with size s of the grid and r = 1 / (s + 1) the probability that both candidates stand in one row:

                                          consistent      success          nats
    that mixture, the best there is       1               1 / 2            ln 2
    its words drawn one by one            (1 + r) / 2     (1 + r) / 4      (2 - r) ln 2

Consistent is an utterance that names either candidate; success is judged by the world itself.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from encoders.encoder import Encoder
from encoders.psi import Psi, partition
from encoders.size import count_parameters
from encoders.text.elbo import average
from encoders.text.fit import Record, fit
from encoders.text.heads import HEADS, TextHead, make_head
from encoders.text.tokens import Words
from encoders.text.vae import TextVAE, VAEConfig
from unienv.modality import IMAGE, TEXT
from unienv.registry import make_world
from unienv.rng import Keys, slots, streams
from unienv.spelling import check_choice
from unienv.world import Observation
from unienv.worlds.describe import Describe

_DIM, _QUERIES, _READINGS, _HEADS = 64, 4, 2, 4  # shape of the encoder and of Psi
_SCENE = {"size": 3, "num_colours": 4, "num_shapes": 4}  # less to tell apart than in the world's own, learned sooner
_VAE = VAEConfig(width=32, layers=1, heads=2, latent=8)
_VAE_STEPS, _VAE_LR, _VAE_BATCH = 400, 3e-3, 128
_HELD_OUT = 1 << 40  # seeds from here on are for the evaluation; those of training are below
_LANGUAGE = 4096  # episodes in which every utterance occurs


class Episodes(NamedTuple):
    """Starts of N episodes.

    Fields:
        seen: o.
        meant: (N, 2) int64, the utterance of the world's oracle.
        other: (N, 2) int64, the one for the other object of the colour in the text.
        judge: utterances (N, 2) -> (N,) bool, whether the world takes them for right.
    """

    seen: Observation
    meant: Tensor
    other: Tensor
    judge: Callable[[Tensor], Tensor]


class State(nn.Module):
    """Observation -> z~ of the joint form, normalised.

    Args:
        world: whose observations these are.
    """

    def __init__(self, world: Describe) -> None:
        super().__init__()
        modalities = list(world.observation_space)
        self.encoder = Encoder(world.observation_space, modalities, "tile", _DIM, _HEADS)
        streams = partition("joint", modalities)
        self.psi = Psi(streams, self.encoder.grids, _DIM, _QUERIES, _READINGS, _HEADS)
        self.norm = nn.LayerNorm(self.psi.size)

    def forward(self, seen: Observation) -> Tensor:
        """o -> (N, S)."""
        return self.norm(self.psi(self.encoder(self.encoder.prepare(seen)))[0])


def train_speaker(
    head: str,
    steps: int,
    generator: Generator,
    parameters: int = 85_000,
    batch: int = 256,
    lr: float = 2e-3,
    episodes: int = 2048,
    report: Callable[[Record], None] | None = None,
    **scene: Any,
) -> dict[str, Any]:
    """Train a speaker on what the oracle says in fresh episodes, and judge it on others.

    Args:
        head: one of `encoders.text.heads.HEADS`.
        steps: of AdamW.
        generator: of weights, episodes and draws; its device is that of all.
        parameters: of the head.
        batch: episodes a step.
        lr: the largest learning rate.
        episodes: of the evaluation.
        report: told of the fit's records.
        scene: parameters of `describe`, but its coupling, which is 1; by default a grid of 3 x 3 cells, 4 colours and
            4 shapes, small enough for a minute of training.

    Returns:
        "head"; "parameters" of it, "state_parameters" of what stands before it; "steps"; "pretraining", steps of the
        text VAE; "success", "consistent" and "nats", each {"value", "error", "n"} with its standard error; "kind" of
        the nats, "exact" or "at most"; "best" and "word_by_word", the figures that follow from the world, see above;
        "examples", pairs of a question and what was said; "curve", the records of the fit; "seconds" by phase.

    Raises:
        ValueError: one line, for no such head, or a scene that the world refuses.
    """
    check_choice("head", head, HEADS)
    device, clock = generator.device, Clock()
    world: Any = make_world("describe", **{**_SCENE, **scene}, backend="torch", device=str(device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(1 << 31, (), generator=generator, device=device)))
        state = State(world).to(device)
        vae = _learn_language(world, generator) if head == "latent" else None
        clock.stop("pretraining")
        size, length = len(Words(world.vocabulary)), world.action_space[TEXT].shape[0]
        speaker = make_head(head, state.psi.size, size, length, parameters, vae).to(device)

    def loss(seeds: Tensor, generator: Generator) -> dict[str, Tensor]:
        met = meet(world, seeds)
        return {"loss": speaker.loss(state(met.seen), met.meant, generator)}

    trained = [*state.parameters(), *speaker.parameters()]
    curve = fit(loss, trained, _seeds(batch, generator), steps, lr, generator, report, max(1, steps // 20))
    clock.stop("training")
    found = evaluate(world, state.eval(), speaker.eval(), episodes, generator)
    clock.stop("evaluation")
    return {
        "head": head,
        "parameters": speaker.size(),
        "state_parameters": count_parameters(state),
        "steps": steps,
        "pretraining": _VAE_STEPS if vae else 0,
        **found,
        "kind": "exact" if speaker.exact else "at most",
        **_derived(world),
        "curve": curve,
        "seconds": clock.seconds,
    }


@torch.no_grad()
def evaluate(world: Describe, state: State, head: TextHead, episodes: int, generator: Generator) -> dict[str, Any]:
    """One utterance for each of some held-out episodes, drawn from the head's law, and what becomes of it."""
    met = meet(world, _HELD_OUT + torch.arange(episodes, device=generator.device))
    heard = state(met.seen)
    said = head.sample(heard, generator)
    consistent = (said == met.meant).all(dim=1) | (said == met.other).all(dim=1)
    values = {
        "success": met.judge(said),
        "consistent": consistent,
        "nats": -head.log_likelihood(heard, met.meant, generator),
    }
    told = [[world.vocabulary.decode(row.tolist()) for row in rows[:8]] for rows in (met.seen[TEXT], said)]
    means = {name: average(value.double()[None])._asdict() for name, value in values.items()}
    return {**means, "examples": [list(pair) for pair in zip(*told, strict=True)]}


def meet(world: Describe, seeds: Tensor) -> Episodes:
    """The episodes of seeds (N,) int64."""
    stream = streams(slots(seeds), seeds * 0)
    keys = Keys(world.xp, stream, stream * 0)
    start = world.initial(keys)
    colour = (start.board + world.num_shapes - 1) // world.num_shapes  # 0 where there is nothing
    meant = colour.gather(1, start.goal[:, None])
    cells = torch.arange(world.size**2, device=seeds.device)
    twin = ((colour == meant) & (cells != start.goal[:, None])).to(torch.int64).argmax(dim=1)
    seen, oracle = world.observe(start), world.oracle(start)
    other = world.oracle(start._replace(goal=twin))[TEXT]

    def judge(said: Tensor) -> Tensor:
        return world.feedback(start, seen, {TEXT: said, IMAGE: start.goal}, keys)[TEXT]

    return Episodes(seen, oracle[TEXT], other, judge)


def _learn_language(world: Describe, generator: Generator) -> TextVAE:
    """A text VAE of all that can be said in the world, in the world's own ids."""
    device = generator.device
    language = meet(world, torch.arange(_LANGUAGE, device=device)).meant.unique(dim=0)
    vae = TextVAE(len(Words(world.vocabulary)), _VAE).to(device)

    def rows() -> Iterator[Tensor]:
        while True:
            yield language[torch.randint(len(language), (_VAE_BATCH,), generator=generator, device=device)]

    fit(vae.loss, vae.parameters(), rows(), _VAE_STEPS, _VAE_LR, generator)
    return vae.eval()


def _seeds(batch: int, generator: Generator) -> Iterator[Tensor]:
    """Seeds (B,) of episodes for training, below those that are held out."""
    while True:
        yield torch.randint(_HELD_OUT, (batch,), generator=generator, device=generator.device)


def _derived(world: Describe) -> dict[str, Any]:
    """What follows from the world for the best law of utterances, and for that law with its words drawn one by one."""
    same = 1.0 / (world.size + 1)
    names = ("consistent", "success", "nats")
    apart = ((1.0 + same) / 2.0, (1.0 + same) / 4.0, (2.0 - same) * math.log(2.0))
    return {
        "best": dict(zip(names, (1.0, 0.5, math.log(2.0)), strict=True)),
        "word_by_word": dict(zip(names, apart, strict=True)),
    }


class Clock:
    """Seconds by phase, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def stop(self, phase: str) -> None:
        """The phase that is over."""
        now = time.perf_counter()
        self.seconds[phase], self._began = round(now - self._began, 1), now
