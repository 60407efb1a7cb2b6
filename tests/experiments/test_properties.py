"""Whatever is given as settings is a checked configuration, or a mistake that is told in one line."""

import importlib
import math
import shlex
import string
from dataclasses import asdict, is_dataclass
from types import NoneType
from typing import get_args, get_origin, get_type_hints

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.ablation.plan import read_grid
from experiments.config import _RANGES, TEXTS, ConfigError, RunConfig, build, load, parse, to_yaml
from experiments.studies import STUDIES, new_folder
from experiments.studies import reproduce as command_of
from unienv.registry import parameters_of, world_class, world_names

KINDS = {study: importlib.import_module(module).CONFIG for study, module in STUDIES.items()}
PROFILE = settings(
    derandomize=True,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TRIES = settings(PROFILE, max_examples=50)  # of which many are configurations, which takes a while

PIECES = ["null", "~", "true", "no", "nan", ".inf", "-.INF", "1e400", "-0", "0x_", "0o17", "1_0", "12:30", "2026-99-99"]
PIECES += ["${seed}", "${oc.env:HOME}", "???", "[1, {a: b}]", "{a: {b: 1}}", "[", "}", "&a", "*a", "<<: *a", "!!int x"]
PIECES += [
    "!!binary x",
    "!!set {a}",
    "? a",
    "| \n a",
    "%YAML 9.9",
    "a: b: c",
    "- - -",
    "\ufeff1",
    "\x85",
    "\u2028",
    "\0",
]
PIECES += ["match", "goto", "UniEnv/:x", "module:Id-v0", "../..", "9" * 30, "٣", "\u22121", "\udcff", "\x1b[31m"]

texts = st.one_of(
    st.sampled_from(PIECES),
    st.text(max_size=8),
    st.text(alphabet="${}[]&*!|>%@`:,#?-<=. \t\n01e_ab'\"\\", max_size=10),
    st.floats().map(repr),
    st.integers().map(str),
)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=3) | st.dates(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(texts | st.integers(), parts, max_size=3),
    max_leaves=6,
)

words = texts.filter(lambda text: not any(part in text for part in ("${", "???", "\0", "\udcff")))
# Values of an environment, but for whole floats and none in groups, which a command does not say again.
plain = (
    st.floats()
    | st.none()
    | st.recursive(
        st.booleans()
        | st.integers(-(2**62), 2**62)
        | st.floats().filter(lambda number: not number.is_integer())
        | words,
        lambda parts: (
            st.lists(parts | st.none(), max_size=3)
            | st.dictionaries(st.text("ab_", min_size=1), parts, min_size=1, max_size=2)
        ),
        max_leaves=4,
    )
)


def leaves(values, prefix=""):
    """Names of settings, with dots."""
    for name, value in values.items():
        yield prefix + name
        yield from leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else ()


def names(kind):
    """Settings of a study, a parameter of an environment, and what is none."""
    own = st.sampled_from([*leaves(asdict(kind()))])
    return st.one_of(own, own, st.builds("env.{}".format, st.text(max_size=5)), texts)


def of_type(hint, low=-9, high=2**53):
    """Values of a setting; of whole numbers many powers of two, as sizes have to fit together."""
    if get_origin(hint) is list:
        return st.lists(of_type(*get_args(hint)), max_size=3)
    powers = st.integers(0, 12).map(lambda n: max(math.ceil(low), min(2**n, int(high))))
    known = {int: powers | st.integers(math.ceil(low), int(high)), float: st.floats(low, high), str: words}
    known |= {bool: st.booleans(), NoneType: st.none()}
    return st.one_of(*(known[of] for of in get_args(hint) or (hint,) if of in known))


def types(kind, prefix=""):
    """Types of the settings of a study, by name."""
    hints = get_type_hints(kind)
    for name in sorted(hints.keys() - {"study", "env"}):
        if is_dataclass(hints[name]):
            yield from types(hints[name], f"{prefix}{name}.")
        else:
            yield prefix + name, hints[name]


def environment(world):
    """A world with parameters of its own."""
    hints = get_type_hints(world_class(world)[0].__init__)
    own = [name for name in parameters_of(world_class(world)[0]) if name not in ("backend", "device")]
    values = {f"env.{name}": of_type(hints[name]) for name in own}
    return st.fixed_dictionaries({"env.id": st.just(world)}, optional=values)


def settings_of(kind):
    """A few settings of a study, each right by itself, by names with dots."""
    some = [st.fixed_dictionaries({name: of_type(of, *_RANGES.get(name, ()))}) for name, of in types(kind)]
    if hasattr(kind(), "env"):
        own = st.dictionaries(st.text("xyz_", min_size=1).map("env.{}".format), plain, max_size=2)
        some += [own.map(lambda values: {"env.id": "mine:Other-v0", **values}), *map(environment, world_names())]
    if kind is RunConfig:
        some.append(st.fixed_dictionaries({"agent.text": st.just("latent"), "agent.bridge": words}))
    merged = st.lists(st.one_of(*some), min_size=1, max_size=3)
    return merged.map(lambda parts: {name: value for part in parts for name, value in part.items()})


def written(name, value):
    """A setting as an argument."""
    if name in TEXTS:
        return f"{name}={value or ''}"
    if isinstance(value, float):
        return f"{name}={value}"
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
    return f"{name}={text}".strip().removesuffix("...").strip()


def nested(values):
    """Settings in groups."""
    groups = {}
    for name, value in values.items():
        *path, last = name.split(".")
        group = groups
        for part in path:
            group = group.setdefault(part, {})
        group[last] = value
    return groups


def accepted(make):
    """What was made; None for a mistake of one line."""
    try:
        return make()
    except ConfigError as error:
        assert str(error) and str(error).isprintable(), repr(str(error))
        return None


def hidden(config):
    """Arguments that a command does not repeat."""
    names = ("resume", "json", "runs")
    return [f"{name}={value}" for name in names if (value := getattr(config, name, None)) not in (None, "runs", False)]


@pytest.mark.parametrize("text", ['"go: red"', '"yes"', '"null"', '"a # b"', "[null,a]", '"5"', '"3e-4"', '"a\\nb😀"'])
def test_a_command_sets_a_text_that_looks_like_something_else(text):
    config = parse(["env=mine:Other-v0", f"env.task={text}"])
    assert parse(shlex.split(command_of(config))[2:]) == config and config.env["task"] not in (True, None, 5)


@pytest.mark.parametrize("study", STUDIES)
def test_any_arguments_are_a_configuration_or_a_mistake(tmp_path, study):
    kind, made = KINDS[study], []
    wild = st.builds("{}={}".format, names(kind), texts) | texts

    @TRIES
    @given(settings_of(kind), st.lists(wild, max_size=1))
    def check(values, wild):
        arguments = [*(written(name, value) for name, value in values.items()), *wild]
        config = accepted(lambda: parse(arguments, kind))
        if config is None or config.study != study:
            return
        made.append(config)
        (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        assert repr(load(tmp_path, kind)) == repr(config)  # by text, as nan is unlike itself
        again = parse([*shlex.split(command_of(config))[2:], *hidden(config)], kind)
        assert repr(again) == repr(config)  # the command is of the same configuration

    check()
    assert len(made) > TRIES.max_examples / 5


@pytest.mark.parametrize("study", STUDIES)
def test_any_values_are_a_configuration_or_a_mistake(study):
    kind, made = KINDS[study], []
    groups = st.dictionaries(names(kind).map(lambda name: name.rpartition(".")[2]), trees, max_size=3)

    @TRIES
    @given(settings_of(kind), st.dictionaries(names(kind), trees | groups, max_size=1))
    def check(values, wild):
        config = accepted(lambda: build({**nested(values), **wild}, kind))
        assert config is None or type(config) is kind
        made.extend([config] * (config is not None))

    check()
    assert len(made) > TRIES.max_examples / 5


def test_any_file_is_a_configuration_or_a_mistake(tmp_path):
    made = []
    wild = st.binary(max_size=40) | st.lists(texts, max_size=6).map(
        lambda parts: ": ".join(parts).encode(errors="replace")
    )

    @TRIES
    @given(settings_of(RunConfig).map(nested), st.lists(wild, max_size=1))
    def check(values, wild):
        (tmp_path / "config.yaml").write_bytes(*wild or [yaml.safe_dump(values, sort_keys=False).encode()])
        config = accepted(lambda: load(tmp_path))
        if config is not None:
            made.append(config)
            assert wild or repr(config) == repr(build(values))

    check()
    assert len(made) > TRIES.max_examples / 5


@PROFILE
@given(st.lists(st.tuples(st.sampled_from(["env", "seed", "agent.psi", "env.coupling", "x"]), texts), max_size=4))
def test_any_grid_is_lists_or_a_mistake(told):
    try:
        grid = read_grid("=".join(pair) for pair in told)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert all(isinstance(value, list) for value in grid.values())


@PROFILE
@given(st.text(max_size=200) | st.text(alphabet="./\\\0é-", max_size=300))
def test_any_name_is_a_folder_of_its_own(tmp_path, name):
    folder = new_folder(str(tmp_path), name)
    assert folder.is_dir() and folder.resolve().parent == tmp_path.resolve()
    assert set(folder.name) & set(string.whitespace + "/\0") == set()
    folder.rmdir()
