"""Whatever is given as settings is a checked configuration, or a mistake that is told in one line."""

import importlib
import shlex
import string
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.ablation.plan import read_grid
from experiments.config import ConfigError, build, load, parse, to_yaml
from experiments.studies import STUDIES, new_folder
from experiments.studies import reproduce as command_of

KINDS = {study: importlib.import_module(module).CONFIG for study, module in STUDIES.items()}
PROFILE = settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

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


def leaves(values, prefix=""):
    """Names of settings, with dots."""
    for name, value in values.items():
        yield prefix + name
        yield from leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else ()


def names(kind):
    """Settings of a study, a parameter of an environment, and what is none."""
    own = st.sampled_from([*leaves(asdict(kind()))])
    return st.one_of(own, own, st.builds("env.{}".format, st.text(max_size=5)), texts)


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
    kind = KINDS[study]

    @PROFILE
    @given(st.lists(st.builds("{}={}".format, names(kind), texts) | texts, max_size=4))
    def check(arguments):
        config = accepted(lambda: parse(arguments, kind))
        if config is None or config.study != study:
            return
        (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        assert repr(load(tmp_path, kind)) == repr(config)  # by text, as nan is unlike itself
        again = parse([*shlex.split(command_of(config))[2:], *hidden(config)], kind)
        assert repr(again) == repr(config)  # the command is of the same configuration

    check()


@pytest.mark.parametrize("study", STUDIES)
def test_any_values_are_a_configuration_or_a_mistake(study):
    kind = KINDS[study]
    groups = st.dictionaries(names(kind).map(lambda name: name.rpartition(".")[2]), trees, max_size=3)

    @PROFILE
    @given(st.dictionaries(names(kind), trees | groups, max_size=4))
    def check(values):
        config = accepted(lambda: build(values, kind))
        assert config is None or type(config) is kind

    check()


@PROFILE
@given(
    st.binary(max_size=40) | st.lists(texts, max_size=6).map(lambda parts: ": ".join(parts).encode(errors="replace"))
)
def test_any_file_is_a_configuration_or_a_mistake(tmp_path, content):
    (tmp_path / "config.yaml").write_bytes(content)
    accepted(lambda: load(tmp_path))


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
