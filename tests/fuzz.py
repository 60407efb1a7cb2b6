"""Fuzz everything that reads a file: whatever is in it, it is read, or refused in one line.

    pip install atheris                              # into an environment that has the project
    python -m tests.fuzz                             # all loaders, a minute each
    python -m tests.fuzz config corpus seconds=600   # some of them, for longer

Atheris (libFuzzer) makes inputs that reach new lines of the code. Each loader runs in a process of its own. A finding
is any exception but a ValueError of one line, more than 2 GiB of memory, or more than 20 seconds for one input: it is
printed, and the input is left in the folder `keep=`. The table tells how many inputs were tried; the exit status is 1
where there was a finding. Not part of the tests: `pytest` does not collect it.
"""

import contextlib
import io
import json
import logging
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np

SEPARATOR = b"<|>"  # between the parts of an input: members of an archive, files of a folder
LIMITS = ["-timeout=20", "-rss_limit_mb=2048", "-max_len=4096", "-verbosity=1", "-print_final_stats=1"]


def pieces(data: bytes, names: list[str]) -> dict[str, bytes]:
    """An input cut into parts by name; a part that is missing is left out."""
    return dict(zip(names, data.split(SEPARATOR), strict=False))


def archive(path: Path, data: bytes, names: list[str]) -> None:
    """An .npz file whose members are the parts of an input, or which is the input itself."""
    if data.startswith(b"PK"):
        path.write_bytes(data)
        return
    with zipfile.ZipFile(path, "w") as file:
        for name, content in pieces(data, names).items():
            file.writestr(f"{name}.npy", content)


def members(arrays: dict[str, np.ndarray]) -> bytes:
    """The input that stands for a good archive."""
    files = [io.BytesIO() for _ in arrays]
    for file, array in zip(files, arrays.values(), strict=True):
        np.save(file, array)
    return SEPARATOR.join(file.getvalue() for file in files)


# Loaders: each reads the input in a folder of its own, and gives good inputs to begin with

Loader = tuple[Callable[[Path, bytes], object], Callable[[Path], list[bytes]]]


def config() -> Loader:
    from experiments.config import RunConfig, load, to_yaml
    from experiments.studies import resumed

    def read(folder: Path, data: bytes) -> None:
        (folder / "config.yaml").write_bytes(data)
        load(folder)
        resumed([f"resume={folder}", "steps=7"], RunConfig, ("steps",))

    return read, lambda folder: [to_yaml(RunConfig()).encode(), b"env: {id: goto, size: 5}\nseed: 3\n"]


def arguments() -> Loader:
    from experiments.config import parse, to_yaml
    from experiments.studies.separability import SeparabilityConfig

    def read(folder: Path, data: bytes) -> None:
        words = data.decode(errors="surrogateescape").split("\n")
        for kind in (SeparabilityConfig, None):
            to_yaml(parse(words, kind) if kind else parse(words))

    return read, lambda folder: [b"env=goto\nenv.size=5\nppo.lr=3e-4", b"env=BabyAI-X-v0\nenv.a={b: [1, c]}\nuntil=0.5"]


def transitions() -> Loader:
    from unienv.separability.transitions import Transitions

    header = np.array(json.dumps({"modalities": ["text", "image"], "names": ["no", "yes"]}))
    good = {"header": header, "action": np.arange(3) % 2, "feedback": np.arange(3) % 2, "episode": np.arange(3)}
    good |= {f"items{m}": np.arange(4, dtype=np.uint8).reshape(2, 2) for m in range(2)}
    good |= {f"which{m}": np.arange(3) % 2 for m in range(2)}

    def read(folder: Path, data: bytes) -> None:
        archive(folder / "seen.npz", data, list(good))
        found = Transitions.load(folder / "seen.npz")
        found.select(np.arange(len(found)))

    def whole(folder: Path) -> list[bytes]:
        np.savez_compressed(folder / "good.npz", **good)
        return [members(good), (folder / "good.npz").read_bytes()]

    return read, whole


def dataset() -> Loader:
    from unienv.worlds.dataset import Dataset

    good = {"text": np.array(["a b", "c"]), "image": np.zeros((2, 2, 2), np.uint8), "label": np.arange(2)}
    numbered = good | {"text": np.arange(4).reshape(2, 2)}

    def read(folder: Path, data: bytes) -> None:
        archive(folder / "data.npz", data, list(good))
        Dataset(str(folder / "data.npz"), "all")

    return read, lambda folder: [members(good), members(numbered)]


def trials() -> Loader:
    from experiments.ablation.pooled import read as read_table

    head = b"env,coupling,psi,seed,J,score,success,command\n"
    one = head + b'match,0.5,joint,0,0.7,0.9,0.8,python experiments/run.py env=match env.coupling=0.5 "env.kind=text"\n'

    def read(folder: Path, data: bytes) -> None:
        (folder / "ablation.csv").write_bytes(data)
        read_table(folder / "ablation.csv")

    return read, lambda folder: [
        one,
        head + b"MiniGrid-Empty-5x5-v0,,late,1,0.7,0.7,0.8,python run.py env=MiniGrid-X\n",
    ]


def shards() -> Loader:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from unienv.separability.shards import count, find

    columns = {"action": [0, 1], "feedback": ["no", "yes"], "episode": [0, 1], "text": ["a", "b"], "image": [[1], [2]]}

    def read(folder: Path, data: bytes) -> None:
        (folder / "seen.parquet").write_bytes(data)
        for shard in find(folder / "seen.parquet"):
            count(shard.path)

    def whole(folder: Path) -> list[bytes]:
        pq.write_table(pa.table(columns), folder / "good.parquet", compression="none")
        return [(folder / "good.parquet").read_bytes()]

    return read, whole


def corpus() -> Loader:
    import torch

    from encoders.text.corpus import SPLITS, open_corpus

    names = ["a.txt", "b.txt", "c.txt"]

    def read(folder: Path, data: bytes) -> None:
        texts = folder / "texts"
        texts.mkdir(exist_ok=True)
        for name, content in pieces(data, names).items():
            (texts / name).write_bytes(content)
        for tokens in (None, "bpe"):
            found = open_corpus(str(texts), tokens, 270)
            for split in SPLITS:
                if any(found.texts(split)):
                    next(found.batches(split, 1, 4, torch.Generator().manual_seed(0)))

    return read, lambda folder: [b"one\n\ntwo", SEPARATOR.join([b"a\n b", "é\r\n\u2028".encode(), b"\xef\xbb\xbfx"])]


def tokens() -> Loader:
    from encoders.text.tokens import Words, learn_byte_pairs, load_tokens, save_tokens
    from unienv.modality import Vocabulary

    def read(folder: Path, data: bytes) -> None:
        (folder / "tokens.json").write_bytes(data)
        found = load_tokens(folder / "tokens.json")
        with contextlib.suppress(ValueError):  # a word that it does not have
            found.decode(found.encode("a b"))

    def whole(folder: Path) -> list[bytes]:
        kinds = [Words(Vocabulary(["a", "b"], 2)), learn_byte_pairs(["a b a b"], 262)]
        for number, kind in enumerate(kinds):
            save_tokens(folder / f"good{number}.json", kind)
        return [(folder / f"good{number}.json").read_bytes()[:4000] for number in range(len(kinds))]

    return read, whole


def metrics() -> Loader:
    from experiments.progress import MetricsReader
    from experiments.recorder import METRICS, read_metrics

    def read(folder: Path, data: bytes) -> None:
        (folder / METRICS).write_bytes(data)
        for record in [*read_metrics(folder), *MetricsReader(folder / METRICS).new()]:
            record["steps"] + 0

    return read, lambda folder: [b'{"steps": 64, "success": null, "seconds": 0.5}\n' * 2, b'{"steps": 1}\n{"st']


def columns() -> Loader:
    from experiments.columns import read_columns

    good = {"frames": np.zeros((2, 2, 2, 3), np.uint8), "text": np.array(["a", "b"]), "reward": np.zeros(2)}

    def read(folder: Path, data: bytes) -> None:
        archive(folder / "episodes.npz", data, list(good))
        read_columns(folder / "episodes.npz", good)

    return read, lambda folder: [members(good)]


def model() -> Loader:
    """A text model: weights, which are what a checkpoint consists of, their shape, and tokens."""
    from encoders.tensors import load_tensors, told_of
    from encoders.text.pretrained import load_text, save_text
    from encoders.text.tokens import Words
    from encoders.text.vae import TextVAE, VAEConfig
    from unienv.modality import Vocabulary

    names = ["vae.json", "tokens.json", "vae.safetensors"]

    def read(folder: Path, data: bytes) -> None:
        text = folder / "text"
        for name, content in pieces(data, names).items():
            (text / name).write_bytes(content)
        with contextlib.suppress(ValueError):
            load_tensors(text / names[2])
            told_of(text / names[2])
        load_text(text)

    def whole(folder: Path) -> list[bytes]:
        known = Words(Vocabulary(["a"]))
        vae = TextVAE(len(known), VAEConfig(width=4, layers=1, heads=1, latent=3, patch=1))
        save_text(folder / "text", vae, known)
        files = [(folder / "text" / name).read_bytes() for name in names]
        return [SEPARATOR.join(files[:2]), SEPARATOR.join([*files[:2], files[2][:3000]])]

    return read, whole


def checkpoint() -> Loader:
    """Tensors alone, as agents and worlds are kept."""
    import torch

    from encoders.tensors import load_tensors, save_tensors, told_of

    def read(folder: Path, data: bytes) -> None:
        (folder / "agent.safetensors").write_bytes(data)
        load_tensors(folder / "agent.safetensors")
        told_of(folder / "agent.safetensors")

    def whole(folder: Path) -> list[bytes]:
        save_tensors(folder / "good.safetensors", {"a": torch.zeros(2), "b": torch.ones(1, 3).long()}, {"curve": "[]"})
        return [(folder / "good.safetensors").read_bytes()]

    return read, whole


LOADERS = [config, arguments, transitions, dataset, trials, shards, corpus, tokens, metrics, columns, model, checkpoint]


def fuzz(loader: Callable[[], Loader], folder: Path, options: list[str]) -> None:
    """Fuzz one loader in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["unienv", "encoders", "agents", "experiments", "yaml", "omegaconf"]):
        read, good = loader()
    (folder / "good").mkdir()
    for number, data in enumerate(good(folder)):
        (folder / "good" / str(number)).write_bytes(data)
    logging.disable()

    def try_one(data: bytes) -> None:
        try:
            read(folder, data)
        except ValueError as error:
            if not str(error) or len(str(error).splitlines()) != 1:
                raise AssertionError(f"expected one line, got {str(error)!r}") from error

    atheris.Setup([sys.argv[0], *options, str(folder / "good")], try_one)
    atheris.Fuzz()


def watch(name: str, seconds: int, keep: Path) -> tuple[int, int]:
    """Fuzz one loader in another process: the number of inputs, and its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"-max_total_time={seconds}", f"-artifact_prefix={keep.resolve()}/{name}-", *LIMITS]
        words = [sys.executable, "-m", "tests.fuzz", "--here", name, folder, *options]
        told = subprocess.run(words, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True, errors="replace")
    tried = [int(count) for count in re.findall(r"(?:number_of_executed_units:|^#)\s*(\d+)", told.stdout, re.M)]
    if told.returncode:
        print(told.stdout[-4000:], file=sys.stderr)
    return max(chain([0], tried)), told.returncode


def main(words: list[str]) -> int:
    """The table of what was tried; 1 where something was found."""
    by_name = {loader.__name__: loader for loader in LOADERS}
    if words[:1] == ["--here"]:
        fuzz(by_name[words[1]], Path(words[2]), words[3:])
    given = dict(word.split("=", 1) for word in words if "=" in word)
    names = [word for word in words if "=" not in word] or list(by_name)
    seconds, keep = int(given.get("seconds", 60)), Path(given.get("keep", tempfile.gettempdir()))
    if set(names) - set(by_name) or set(given) - {"seconds", "keep"}:
        print(f"expected names of loaders, {', '.join(by_name)}, seconds= and keep=", file=sys.stderr)
        return 2
    keep.mkdir(parents=True, exist_ok=True)
    found = 0
    print(f"{'loader':<12} {'inputs':>10}")
    for name in names:
        tried, status = watch(name, seconds, keep)
        found += bool(status)
        print(f"{name:<12} {tried:>10,}{'   a finding' if status else ''}", flush=True)
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
