from itertools import product
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import chisquare

from tests.contract import WorldContract
from unienv.glyphs import glyph_tiles
from unienv.rng import Keys, slots, streams
from unienv.separability.enumeration import enumerate_world
from unienv.separability.exact import exact
from unienv.separability.ladder import ladder
from unienv.worlds.terminal import Terminal, TerminalState


class TestTerminal(WorldContract):
    world_id = "UniEnv/Terminal-v0"


class TestSmallTerminal(WorldContract):
    world_id = "UniEnv/Terminal-v0"
    parameters: ClassVar = dict(Terminal.small)


class TestLargeTerminal(WorldContract):
    world_id = "UniEnv/Terminal-v0"
    parameters: ClassVar = {"num_files": 5, "num_values": 10, "horizon": 4}


def starts(world, count):
    slot = slots(np.arange(count))
    return world.initial(Keys(np, streams(slot, slot * 0), slot * 0))


def one(files, want, out):
    """A machine on which nothing has been typed."""
    return TerminalState(*(np.array([x]) for x in (files, want, out, [0, 0, 0], 0)))


def words(world, command):
    """Actions (1, 3) of a command; a dot stands for no word."""
    return np.array([[0 if word == "." else world.vocabulary.id(word) for word in command.split()]])


def type_in(world, state, command):
    """Next state, the names of what is true in the feedback, and the reward of one world's step."""
    action = words(world, command)
    feedback = world.feedback(state, {}, action, None)
    after = world.transition(state, {}, action, feedback, None)
    reward = world.reward(state, {}, action, feedback)
    assert world.terminal(after).tolist() == feedback["success"].tolist()
    return after, {name for name, part in feedback.items() if part[0]}, float(reward[0])


def screen(world, state):
    """The screen's lines, without the line of text above them."""
    return world.describe(state, 0).split("\n")[1:]


def test_a_session_by_hand():
    world = Terminal()
    state = one([1, 2], want=1, out=0)
    assert screen(world, state) == ["want 1", "a 1 b 2", "out 0", ">", ""]
    session = [
        ("check . .", set(), ["want 1", "a 1 b 2", "out 0", "> check", "failed"]),
        ("run . .", {"changed"}, ["want 1", "a 1 b 2", "out 3", "> run", "ok"]),
        ("run . .", set(), ["want 1", "a 1 b 2", "out 3", "> run", "ok"]),
        ("edit a 3", {"changed"}, ["want 1", "a 3 b 2", "out 3", "> edit a 3", "ok"]),
        ("edit a 3", set(), ["want 1", "a 3 b 2", "out 3", "> edit a 3", "ok"]),
        ("run . .", {"changed", "right"}, ["want 1", "a 3 b 2", "out 1", "> run", "ok"]),
        ("edit b 0", {"changed", "right"}, ["want 1", "a 3 b 0", "out 1", "> edit b 0", "ok"]),
        ("edit a .", {"error", "right"}, ["want 1", "a 3 b 0", "out 1", ">", "error"]),
        ("check . .", {"success", "right"}, ["want 1", "a 3 b 0", "out 1", "> check", "passed"]),
    ]
    for command, told, lines in session:
        before = tuple(field.copy() for field in state)
        after, feedback, reward = type_in(world, state, command)
        assert (feedback, reward, screen(world, after)) == (told, float("success" in told), lines)
        assert all(np.array_equal(x, y) for x, y in zip(before, state, strict=True))  # the input is left alone
        state = after


@pytest.mark.parametrize("ignored", ["edit a", "run run", "3 .", ". b"])
def test_words_after_run_and_check_are_ignored(ignored):
    world = Terminal()
    for state in (one([1, 2], want=1, out=0), one([3, 0], want=2, out=2)):
        for verb in ("run", "check"):
            plain, more = (type_in(world, state, f"{verb} {rest}") for rest in (". .", ignored))
            assert plain[1:] == more[1:] and screen(world, plain[0]) == screen(world, more[0])


def test_every_other_command_is_an_error_that_changes_nothing():
    world = Terminal(num_files=2, num_values=3)
    state = one([1, 2], want=1, out=0)
    actions = np.array(list(product(range(9), repeat=3)))
    spoken = ["run", "check", *(f"edit {name} {value}" for name in "ab" for value in "012")]
    given = [words(world, command) for command in spoken]
    understood = np.any([(actions[:, : row.shape[1]] == row).all(axis=1) for row in given], axis=0)
    assert understood.sum() == 2 * 81 + 6
    many = TerminalState(*(np.repeat(field, len(actions), axis=0) for field in state))
    feedback = world.feedback(many, {}, actions, None)
    after = world.transition(many, {}, actions, feedback, None)
    assert np.array_equal(feedback["error"], ~understood)
    wrong = [field[~understood] for field in after]
    assert all((field == start).all() for field, start in zip(wrong[:4], state[:4], strict=True))
    assert {world.vocabulary.words[reply - 1] for reply in wrong[4]} == {"error"}
    assert not (feedback["changed"] & feedback["error"]).any()


def test_starts_are_uniform_and_not_yet_right():
    state = starts(Terminal(num_files=2, num_values=3), 30_000)
    assert (state.want != state.out).all() and not state.command.any() and not state.reply.any()
    other = (state.out - state.want) % 3 - 1
    cell = ((state.files[:, 0] * 3 + state.files[:, 1]) * 3 + state.want) * 2 + other
    assert chisquare(np.bincount(cell, minlength=54)).pvalue > 1e-3


@pytest.mark.parametrize("num_files, num_values", [(1, 2), (2, 4), (8, 10)])
def test_oracle_edits_where_it_must_runs_and_checks(num_files, num_values):
    world = Terminal(num_files, num_values)
    state = starts(world, 300)
    ready = state.files.sum(axis=1) % num_values == state.want
    edit, run, check = 1, 2, 3
    plan = [(run, edit, False, False), (check, run, True, False), (check, check, True, True)]
    for verb, verb_else, success, success_else in plan:
        action = world.oracle(state)
        assert np.array_equal(action[:, 0], np.where(ready, verb, verb_else))
        feedback = world.feedback(state, {}, action, None)
        assert np.array_equal(feedback["success"], np.where(ready, success, success_else))
        assert not feedback["error"].any()
        state = world.transition(state, {}, action, feedback, None)


def test_no_plan_is_shorter_than_the_oracles():
    kernel = enumerate_world(Terminal(num_files=2, num_values=2, horizon=4))
    steps = np.where(kernel.terminal, 0, 9)
    for _ in range(4):  # value iteration
        nearer = steps.copy()
        np.minimum.at(nearer, kernel.source, steps[kernel.target] + 1)
        steps = nearer
    start = kernel.initial > 0
    assert set(steps[start].tolist()) == {2, 3}
    assert float(kernel.initial[steps == 2].sum()) == pytest.approx(1 / 2)  # the sum is what is wanted


def reachable(world, rounds):
    """States after random and good commands, starts among them."""
    rng, state = np.random.default_rng(0), starts(world, 400)
    found = [state]
    for _ in range(rounds):
        random = rng.integers(0, world.action_space.nvec, (400, 3))
        understood = random.copy()
        understood[:, 0] = rng.integers(1, 4, 400)
        choice = rng.integers(0, 3, (400, 1))
        action = np.where(choice == 0, world.oracle(state), np.where(choice == 1, random, understood))
        state = world.transition(state, {}, action, {}, None)
        found.append(state)
    return TerminalState(*(np.concatenate(field) for field in zip(*found, strict=True)))


@pytest.mark.parametrize("num_files, num_values", [(1, 2), (2, 4), (8, 10)])
def test_both_modalities_show_the_whole_state(num_files, num_values):
    world = Terminal(num_files, num_values)
    state = reachable(world, 5)
    seen = world.observe(state)
    rows = np.concatenate([field.reshape(len(field), -1) for field in state], axis=1)
    states, texts, images = ([row.tobytes() for row in part] for part in (rows, seen["text"], seen["image"]))
    assert len(set(states)) == len(set(texts)) == len(set(images)) == len(set(zip(states, texts, images, strict=True)))
    assert len(set(states)) > 30


def test_the_image_is_the_screen_letter_by_letter():
    world = Terminal()
    state = reachable(world, 3)
    image = world.observe(state)["image"]
    for index in range(0, len(image), 37):
        want, files, out, command, reply = screen(world, TerminalState(*(f[index : index + 1] for f in state)))
        if command.startswith("> edit"):
            command = command.replace("edit", "edit ")  # as wide as check
        lines = [line.ljust(11) for line in (want, files, out, command, reply)]
        drawn = [np.concatenate(list(glyph_tiles(line, (188, 232, 196), (16, 20, 24))), axis=1) for line in lines]
        assert np.array_equal(image[index], np.concatenate(drawn))


@pytest.mark.parametrize("num_files, width", [(1, 88), (3, 88), (5, 152), (8, 248)])
def test_sizes(num_files, width):
    world = Terminal(num_files)
    assert world.observation_space["image"].shape == (40, width, 3)
    assert world.observation_space["text"].shape == (9 + 2 * num_files,)
    assert world.action_space.nvec.tolist() == [8 + num_files] * 3


@pytest.mark.parametrize("parameters", [Terminal.small, {"num_files": 2, "num_values": 2, "horizon": 4}])
def test_it_is_separable_though_feedback_says_much(parameters):
    kernel = enumerate_world(Terminal(**parameters))
    assert (kernel.codes == np.arange(len(kernel.codes))[:, None]).all()  # a text and an image of its own a state
    measured = exact(kernel)
    for step in measured.steps:
        assert step.feedback.nonseparability == step.feedback.one_modality == 0
        assert step.signal.nonseparability == step.output.nonseparability == 0
        assert step.feedback.information > 0.5
        assert step.feedback.entropy == pytest.approx(0, abs=1e-9)  # deterministic
    values = ladder(kernel)
    assert values.certified and abs(values.gap) < 1e-9
    assert values.single == pytest.approx([values.joint] * 2)


def test_random_words_succeed_now_and_then():
    envs = gym.make_vec("UniEnv/Terminal-v0", 512)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    flags = np.array([envs.step(envs.action_space.sample())[2:4] for _ in range(180)])
    terminated, truncated = flags.sum(axis=(0, 2))
    assert terminated / (terminated + truncated) == pytest.approx(0.05, abs=0.01)


def test_the_horizon_is_exact():
    envs = gym.make_vec("UniEnv/Terminal-v0", 4, horizon=3)
    envs.reset(seed=0)
    ends = [envs.step(np.zeros((4, 3), np.int64))[3].tolist() for _ in range(3)]
    assert ends == [[False] * 4, [False] * 4, [True] * 4]


def test_commands_are_named_in_words():
    world = Terminal()
    assert world.name_action(words(world, "edit b 3")[0]) == "edit b 3"
    assert world.name_action(words(world, "run . .")[0]) == "run"


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_files": 0},
        {"num_files": 9},
        {"num_values": 1},
        {"num_values": 11},
        {"horizon": 0},
        {"signal": "rewards"},
        {"backend": "jax"},
    ],
)
def test_bad_parameters_are_refused_in_one_line(wrong):
    with pytest.raises(ValueError, match=rf"\A.*got .*{next(iter(wrong.values()))}.*\Z"):
        Terminal(**wrong)
