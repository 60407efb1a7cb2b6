"""Strips of pictures: what happened and, below, what a world model had foreseen, from a file of `experiments.dream`.

The same in the report of a run and in that of a study, with `STYLE` in the page's style sheet.
"""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby, zip_longest
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from experiments.columns import read_columns
from experiments.page import CURVE, MUTED, picture_uri, plot

STYLE = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")

_COLUMNS = ("episode", "length", "frames", "text", "said", "reward", "ended", "chance_reward", "chance_end")
_IMAGINED = {"pixels": "imagined_frames", "words": "imagined_text"}  # what is counted, and in which column it is
_ABOUT = (
    "Imagined open loop: the world model is given the first observation of an episode and the actions that were really "
    "taken. Of what may be observed next it takes what it holds likeliest, and observes that in turn. Given its state "
    "it foresees every place by itself: where it is uncertain, the parts may not fit together and the whole may look "
    "impossible. A grey patch stands for any that it does not know. Below each action is what came of it and, small, "
    "the chance that the model gave to a reward and to the end."
)
_BLIND = " Its latent state is of the {} alone, so that nothing else is imagined."
_AGREEMENT = (
    "Share of {} foreseen rightly, by step: mean of the episodes below that last so long. "
    "Dashed: of a foresight that nothing changes."
)
_WIDTH = 3.6  # rem of a picture: a given and 12 imagined fit a wide page
_TEXT = '<tr><th scope="row">{}<small>{}</small></th><td>{}</td></tr>\n'

Columns = dict[str, np.ndarray]


def strips(path: Path) -> str:
    """The episodes of a file of dreams as elements of a page: how they are to be read, agreement by step, the strips.

    Raises:
        ValueError: one line, when the file is damaged.
    """
    columns = read_columns(path, _COLUMNS)
    imagined = [name for name, column in _IMAGINED.items() if column in columns]
    blind = "" if len(imagined) == len(_IMAGINED) else _BLIND.format("image" if "pixels" in imagined else "text")
    eventful = [name for name in imagined if min(columns[name].min(), columns[f"{name}_still"].min()) < 1.0]
    panels = "".join(_agreement(columns, name) for name in eventful)
    numbers = columns["episode"]
    episodes = ({key: of[numbers == number] for key, of in columns.items()} for number in np.unique(numbers))
    figures = f'<div class="panels">{panels}</div>\n' if panels else ""
    return f"<p>{_ABOUT}{blind}</p>\n{figures}{''.join(_card(episode, eventful) for episode in episodes)}"


def _agreement(columns: Columns, name: str) -> str:
    """The figure of how far what was imagined agrees with what happened."""
    step = np.concatenate([np.arange(count) for count in np.unique(columns["episode"], return_counts=True)[1]])
    steps = np.unique(step)
    right, still = ([columns[key][step == at].mean() for at in steps] for key in (name, f"{name}_still"))

    def draw(axes: Axes) -> None:
        axes.plot(steps, right, color=CURVE, marker="o", markersize=3.5, clip_on=False)
        axes.plot(steps, still, color=MUTED, linewidth=1.2, linestyle=(0, (5, 3)), zorder=3)  # seen where both agree
        axes.set(xlabel="step", ylim=(min(*right, *still, 0.9), 1.0))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))

    told = f"{name} foreseen rightly by step: " + ", ".join(f"{share:.0%}" for share in right)
    figure, caption = plot(draw, (3.5, 1.9), told), _AGREEMENT.format(name)
    heading = f"<h3>{name.capitalize()}</h3>"
    return f'<figure class="card">{heading}<div class="plot">{figure}</div><figcaption>{caption}</figcaption></figure>'


def _card(episode: Columns, shares: Iterable[str]) -> str:
    """One episode: pictures in two strips with the actions between, `shares` and feedback below, and the text."""
    count, length, number = len(episode["said"]) - 1, episode["length"][0], episode["episode"][0] + 1
    extent = f"the first {count} of {length} steps" if length > count else f"{count} step{'s' * (count > 1)}"
    rows = [
        _row("happened", _pictures(episode["frames"], "happened")),
        _row("action", map(escape, episode["said"].tolist())),
    ]
    if "imagined_frames" in episode:
        rows.append(_row("imagined", _pictures(episode["imagined_frames"], "imagined")))
    rows += [_row(f"{name} right", (f"{share:.0%}" for share in episode[name])) for name in shares]
    rewards = [f"{reward:.3g}" for reward in episode["reward"]]
    ends = ["yes" if ended else "no" for ended in episode["ended"]]
    rows.append(_row("reward<small>chance</small>", _feedback(rewards, episode["chance_reward"])))
    rows.append(_row("end<small>chance</small>", _feedback(ends, episode["chance_end"])))
    width = max(_WIDTH, episode["frames"].shape[2] / 16)  # rem: never smaller than in pixels of the page
    heads = "".join(f'<th scope="col">{step or "given"}</th>' for step in range(count + 1))
    return (
        f'<div class="card"><h3>Episode {number}: {extent}</h3>\n'
        f'<div class="strip" role="region" aria-label="Episode {number}, step by step" tabindex="0">'
        f'<table style="--width: {width:g}rem"><thead><tr><td></td>{heads}</tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody></table></div>\n"
        f"{_texts(episode)}</div>\n"
    )


def _row(name: str, cells: Iterable[str]) -> str:
    return f'<tr><th scope="row">{name}</th><td>{"</td><td>".join(cells)}</td></tr>\n'


def _pictures(frames: np.ndarray, what: str) -> list[str]:
    return [f'<img src="{picture_uri(frame)}" alt="{what}, step {step}">' for step, frame in enumerate(frames)]


def _feedback(happened: Sequence[str], chances: np.ndarray) -> list[str]:
    """What came of each action above its foreseen chance; nothing did of the last, which there is not."""
    told = zip(happened[:-1], chances[:-1], strict=True)
    return [*(f"{value}<small>{chance:.1%}</small>" for value, chance in told), ""]


def _texts(episode: Columns) -> str:
    """What was read and, where text is foreseen, what was imagined; anew where either changes."""
    happened = episode["text"].tolist()
    imagined = episode["imagined_text"].tolist() if "imagined_text" in episode else [None] * len(happened)
    rows, begin = [], 0
    for (text, other), group in groupby(zip(happened, imagined, strict=True)):
        end = begin + len(list(group)) - 1
        steps = f"step {begin}" if begin == end else f"steps {begin} to {end}"
        rows.append((steps, "read and imagined" if other == text else "read", escape(text)))
        if other not in (text, None):
            rows.append(("", "imagined", _marked(other, text)))
        begin = end + 1
    return f'<table class="words">{"".join(_TEXT.format(*row) for row in rows)}</table>'


def _marked(imagined: str, happened: str) -> str:
    """The words imagined, marked where others happened."""
    pairs = zip_longest(imagined.split(), happened.split())
    return " ".join(escape(a) if a == b else f"<mark>{escape(a or '_')}</mark>" for a, b in pairs)
