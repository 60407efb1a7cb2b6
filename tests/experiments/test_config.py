import math
from dataclasses import fields

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from experiments.config import ConfigError, RunConfig, build, load, parse, to_yaml

SETTINGS = ("seed", "steps", "env", "env.size", "agent.dim", "agent", "ppo.lr", "ray.workers", "runs", "until", "json")
VALUES = ("1", "-1", "3e-4", "1e400", ".nan", "none", "", "[1, 2]", "{a: b}", "2026-99-99", "${seed}", "0x_", "true")


def mistake(*arguments):
    """What is said of mistaken arguments."""
    with pytest.raises(ConfigError) as error:
        parse(list(arguments))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_defaults():
    assert parse([]) == RunConfig() == build({})
    assert parse([]).env == {"id": "match"}


def test_arguments_set_what_they_name():
    config = parse(["env=goto", "env.size=5", "agent.psi=late", "ppo.lr=3e-4", "ray.workers=2", "seed=3", "json=true"])
    assert config.env == {"id": "goto", "size": 5}
    assert (config.agent.psi, config.ppo.lr, config.ray.workers, config.seed) == ("late", 3e-4, 2, 3)
    assert config.json is True
    assert parse(["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    "text, value", [("5e6", 5_000_000), ("5000000", 5_000_000), ("1_000", 1000), ("2e3", 2000), ("3.0", 3), ("010", 10)]
)
def test_whole_numbers_are_integers_however_written(text, value):
    assert parse([f"steps={text}"]).steps == value
    assert type(parse([f"steps={text}"]).steps) is int


@pytest.mark.parametrize("text, value", [("3e-4", 3e-4), ("3E-4", 3e-4), (".5", 0.5), ("1", 1.0), ("0.25", 0.25)])
def test_numbers_are_read_as_they_are_written(text, value):
    assert parse([f"ppo.lr={text}"]).ppo.lr == value
    assert type(parse([f"ppo.lr={text}"]).ppo.lr) is float


@pytest.mark.parametrize("text, value", [("null", None), ("", None), ("0.9", 0.9), ("1", 1.0)])
def test_optional_settings_may_be_left_out(text, value):
    assert parse([f"until={text}"]).until == value


@pytest.mark.parametrize("text, value", [("null", None), ("", None), ("0", 0), ("2", 2), ("2.0", 2)])
def test_imagined_rollouts_are_counted_or_left_out(text, value):
    assert parse([f"agent.imagine={text}"]).agent.imagine == value


def test_an_empty_text_is_none_where_none_is_meant():
    assert parse(["ray.address="]).ray.address is None and parse(["resume="]).resume is None
    with pytest.raises(ConfigError, match="runs"):
        parse(["runs="])


def test_none_is_no_value_where_there_may_be_none():
    settings = ["until=none", "agent.imagine=none", "agent.bridge=none", "ray.address=none", "env.coupling=none"]
    assert parse(settings) == parse(["env.coupling="])
    assert parse(["agent.memory=none"]).agent.memory == "none" and parse(["runs=none"]).runs == "none"


@pytest.mark.parametrize("text", ["runs/a", "2026-01-01", "007", "1e5", "2026_01", "12:30", "yes", "a=b"])
def test_names_are_taken_as_they_are_written(text):
    assert parse([f"runs={text}"]).runs == text


@pytest.mark.parametrize("argument", ["seed", "=1", "--seed", "--help", "env goto", ""])
def test_what_is_no_setting_is_told_with_an_example(argument):
    assert mistake(argument) == f"expected key=value, got {argument!r}; for example env=goto or seed=1"


@pytest.mark.parametrize(
    "argument, near",
    [
        ("sed=1", "seed"),
        ("agent.phi=late", "agent.psi"),
        ("lr=1", "ppo.lr"),
        ("ppo.lr.x=1", "ppo.lr"),
        ("workers=2", "ray.workers"),
        ("ppo={lrr: 1}", "ppo.lr"),
        ("psi=late", "agent.psi"),
    ],
)
def test_an_unknown_setting_gets_the_nearest_name(argument, near):
    key = "ppo.lrr" if "{" in argument else argument.partition("=")[0]
    assert mistake(argument) == f"there is no setting {key!r}; did you mean {near!r}?"


@pytest.mark.parametrize(
    "argument, near",
    [("env.sise=5", "env.size"), ("env.objects=4", "env.num_objects"), ("env.sig=1", "env.signal")],
)
def test_an_unknown_parameter_of_a_world_gets_the_nearest_name(argument, near):
    key = argument.partition("=")[0]
    assert mistake("env=goto", argument) == f"goto has no setting {key!r}; did you mean {near!r}?"


@pytest.mark.parametrize("key", ["backend", "device"])
def test_where_worlds_live_is_not_the_users_choice(key):
    assert f"match has no setting 'env.{key}'" in mistake(f"env.{key}=torch")


@pytest.mark.parametrize("name, near", [("UniEnv/Gotoo-v0", "UniEnv/Goto-v0"), ("UniEnv/Match-v1", "UniEnv/Match-v0")])
def test_an_unknown_world_gets_the_nearest_name(name, near):
    assert mistake(f"env={name}") == f"there is no world {name!r}; did you mean {near!r}?"


@pytest.mark.parametrize(
    "argument, kind",
    [
        ("env.coupling=much", "float or none"),
        ("env.coupling=true", "float or none"),
        ("env.num_colours=2.5", "int"),
        ("env.num_colours=", "int"),
        ("env.num_colours=true", "int"),
        ("env.num_colours=[2]", "int"),
        ("env.kind=3", "str"),
    ],
)
def test_parameters_of_a_world_have_its_types(argument, kind):
    assert mistake(argument).startswith(f"{argument.partition('=')[0]}: expected {kind}, got ")


def test_parameters_of_a_world_are_read_by_type():
    env = parse(["env.coupling=1", "env.num_colours=2e0", "env.kind=text"]).env
    assert env == {"id": "match", "coupling": 1, "num_colours": 2, "kind": "text"}
    assert parse(["env.coupling="]).env["coupling"] is None


def test_other_environments_check_their_own_parameters():
    env = parse(["env=BabyAI-GoToLocal-v0", "env.room_size=7", "env.tags=[a, b]", "env.deep.er=1"]).env
    assert env == {"id": "BabyAI-GoToLocal-v0", "room_size": 7, "tags": ["a", "b"], "deep": {"er": 1}}


@pytest.mark.parametrize(
    "argument",
    [
        "seed=one",
        "seed=1:5",
        "steps=2:00:00",
        "seed=1.5",
        "seed=true",
        "seed=",
        "ppo.lr=fast",
        "json=perhaps",
        "agent.imagine=1.5",
    ],
)
def test_values_of_the_wrong_type_are_told(argument):
    assert mistake(argument).startswith(f"{argument.partition('=')[0]}: ")


@pytest.mark.parametrize(
    "argument",
    ["steps=0", "episodes=1", "seed=-1", "ray.workers=-1", "until=1.5", "until=-0.1", "ppo.horizon=0", "ppo.epochs=0"]
    + ["ppo.minibatches=0", "ppo.lr=-1", "ppo.gamma=1.01", "ppo.lam=-0.1", "ppo.clip=0", "ppo.max_grad_norm=0"]
    + ["ppo.entropy=-1", "ppo.value=-1", "ppo.feedback=-1", "agent.dim=0", "agent.queries=0", "agent.layers=0"]
    + ["agent.heads=0", "agent.hidden=0", "ppo.lr=.nan", "ppo.lr=.inf", "ppo.gamma=nan", "ppo.feedback=nan"]
    + ["agent.imagine=-1", "agent.imagine=65", "ppo.evolution=-1"],
)
def test_values_out_of_range_are_told_with_the_range(argument):
    assert mistake(argument).startswith(f"{argument.partition('=')[0]}: expected a number from ")


def test_imagined_rollouts_need_a_signal_that_is_foreseen():
    assert "env.signal=preference has -1" in mistake("env=match", "env.signal=preference", "agent.imagine=1")
    assert parse(["env=match", "env.signal=preference", "agent.imagine=0"]).agent.imagine == 0


def test_every_number_has_a_range():
    """Settings of numbers that are not a number are always a mistake."""
    groups = {
        "": RunConfig,
        **{f"{f.name}.": f.default_factory for f in fields(RunConfig) if f.name in ("agent", "ppo")},
    }
    for prefix, kind in groups.items():
        for field in fields(kind):
            if field.type in (int, float, int | None, float | None):
                assert f"{prefix}{field.name}" in mistake(f"{prefix}{field.name}=nan")


@pytest.mark.parametrize("dim, heads", [(18, 2), (20, 3), (6, 1)])
def test_a_latents_size_is_shared_out_among_heads(dim, heads):
    said = mistake(f"agent.dim={dim}", f"agent.heads={heads}")
    assert said == f"agent.dim: expected a multiple of 4 and of agent.heads={heads}, got {dim}"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["agent.text=tokenz"], "agent.text must be one of tokens, latent, got 'tokenz'; did you mean 'tokens'?"),
        (["agent.text=latent"], "agent.text=latent needs agent.bridge=<run folder of a bridge>; python experiments"),
        (["agent.image=latent"], "agent.image=latent needs agent.bridge=<run folder of a bridge>; python experiments"),
        (["agent.bridge=runs/b"], "agent.bridge is for agent.text=latent or agent.image=latent, and neither is set"),
    ],
)
def test_what_is_latent_and_a_bridge_belong_together(arguments, said):
    assert mistake(*arguments).startswith(said)


def test_the_folder_of_a_bridge_is_no_number_and_may_be_gone_when_settings_are_read():
    agent = parse(["agent.text=latent", "agent.image=latent", "agent.bridge=007"]).agent
    assert (agent.text, agent.image, agent.bridge) == ("latent", "latent", "007")


@pytest.mark.parametrize("worlds, workers, minibatches", [(10, 3, 1), (8, 4, 4), (2, 0, 4)])
def test_worlds_are_shared_out_among_workers_and_minibatches(worlds, workers, minibatches):
    said = mistake(f"ppo.worlds={worlds}", f"ray.workers={workers}", f"ppo.minibatches={minibatches}")
    assert said.startswith("ppo.worlds: expected a multiple of") and said.endswith(f"got {worlds}")


@pytest.mark.parametrize("arguments", [("env.id.x=1", "env=goto"), ("env=goto", "env.id.x=1"), ("ppo=1", "ppo.lr=1")])
def test_a_setting_is_a_value_or_a_group(arguments):
    assert "group of settings" in mistake(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["env=goto", "env.size=5", "until=0.5", "resume=x", "ray.address=auto", "ppo.lr=1e-5"],
        ["env=my_module:Mine-v0", "env.a=[1, {b: c}]", "env.d.e=null", "json=true", "runs=a b#c'"],
        ["env.kind=additive", "env.coupling=0.5", "agent.memory=gru"],
        ["agent.text=latent", "agent.bridge=runs/bridge-1"],
        ["agent.imagine=0", "ppo.evolution=0.5"],
    ],
)
def test_a_configuration_is_loaded_as_it_was_written(tmp_path, arguments):
    config = parse(arguments)
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load(tmp_path) == config


@pytest.mark.parametrize(
    "text", ["", "a: [", "- a", "seed", "env: match", "sed: 1", "seed: x", "\x00", "env: {size: 3}"]
)
def test_a_damaged_configuration_is_told_in_one_line(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_without_configuration_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"is no run folder: it has no config\.yaml"):
        load(tmp_path)


ARGUMENTS = st.one_of(
    st.text(max_size=12),
    st.builds("{}={}".format, st.sampled_from(SETTINGS), st.sampled_from(VALUES)),
    st.builds("{}={}".format, st.sampled_from(SETTINGS), st.text(max_size=12)),
    st.builds("env.{}={}".format, st.text(max_size=5), st.text(max_size=12)),
    st.builds("runs={}".format, st.text(alphabet="${}:.[]!&*0x_-# ab", max_size=12)),
)


@settings(max_examples=200)
@given(st.lists(ARGUMENTS, max_size=3))
@example(["env.a\nb=1"])
def test_any_arguments_are_a_configuration_or_a_mistake(arguments):
    try:
        config = parse(arguments)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert 1 <= config.steps <= 1e15 and math.isfinite(config.ppo.lr)


@pytest.mark.parametrize("text", ["2026-99-99", "0x_", "0b_", "!!int x", "!!timestamp x", "9" * 5000])
def test_values_that_yaml_chokes_on_are_mistakes(text):
    assert mistake(f"seed={text}").startswith("seed: ")
