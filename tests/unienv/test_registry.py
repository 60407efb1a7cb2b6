from typing import NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import unienv
from tests.contract import WorldContract
from unienv.modality import Vocabulary, pixel_space, text_space
from unienv.registry import WORLDS, is_world, needs, parameters_of, world_class, world_names
from unienv.worlds.goto import Goto
from unienv.worlds.match import Match

HUES = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)}


class DoorsState(NamedTuple):
    doors: object  # (N, 3) hue of each door
    named: object  # (N,) hue that the text asks for
    opened: object  # (N,) bool


class Doors(unienv.World):
    """Open the door, 1 to 3, of the named hue. Doors are shuffled at every miss; feedback is judged from what is seen.

    It has what the built-in worlds lack: a start other than 0, feedback that is a vector, feedback that reads the
    observation, and a random transition.
    """

    def __init__(self, horizon=4, signal="reward", backend="numpy", device=None):
        super().__init__(signal, backend, device)
        self.horizon = horizon
        self.vocabulary = Vocabulary(["open", *HUES])
        self.palette = self.array(np.array(list(HUES.values()), np.uint8))
        self.observation_space = spaces.Dict({"text": text_space(self.vocabulary, 2), "image": pixel_space((8, 24, 3))})
        self.action_space = spaces.Discrete(3, start=1)

    def initial(self, keys):
        named = keys.integers(1, [3])[:, 0]
        return DoorsState(keys.permutation(0, 3), named, named < 0)

    def observe(self, state):
        image = self.canvas((state.named.shape[0], 8, 24, 3))
        image.reshape(-1, 8, 3, 8, 3)[...] = self.palette[state.doors][:, None, :, None, :]
        text = self.xp.stack([state.named * 0 + 1, state.named + 2], axis=1)
        return {"text": self.xp.astype(text, self.xp.int32), "image": image}

    def feedback(self, state, observation, action, keys):
        hues = observation["image"][:, 0, ::8, :]
        wanted = self.palette[self.xp.astype(observation["text"][:, 1], self.xp.int64) - 2]
        right = self.xp.all(hues == wanted[:, None, :], axis=2)
        return {"success": right[self.xp.arange(len(right)), action - 1], "right": right}

    def transition(self, state, observation, action, feedback, keys):
        return state._replace(doors=keys.permutation(0, 3), opened=feedback["success"])

    def terminal(self, state):
        return state.opened

    def oracle(self, state):
        return self.xp.argmax(self.xp.astype(state.doors == state.named[:, None], self.xp.int64), axis=1) + 1


@pytest.fixture(autouse=True)
def registered():
    """Doors under two names, and the registry as it was afterwards."""
    before = dict(gym.registry)
    unienv.register("Doors-v0", f"{__name__}:Doors")
    unienv.register("QuickDoors-v0", f"{__name__}:Doors", horizon=2)
    yield
    gym.registry.clear()
    gym.registry.update(before)


class Plain(Doors):
    """Doors that can't be turned in any way."""

    def __init__(self):
        super().__init__()


class TestDoors(WorldContract):
    world_id = "UniEnv/Doors-v0"


class TestQuickDoors(WorldContract):
    world_id = "UniEnv/QuickDoors-v0"


def one_line(call, *parts):
    """The call's ValueError, which is one line that holds all parts."""
    with pytest.raises(ValueError) as refused:
        call()
    assert "\n" not in str(refused.value)
    assert all(part in str(refused.value) for part in parts), refused.value


def test_every_id_resolves():
    added = {"UniEnv/Doors-v0", "UniEnv/QuickDoors-v0"}
    assert set(unienv.world_ids()) == {f"UniEnv/{name}" for name in WORLDS} | added
    for id in unienv.world_ids():
        kind, _ = world_class(id)
        assert issubclass(kind, unienv.World)
        if not needs(kind):
            assert type(gym.make(id).unwrapped.world) is type(gym.make_vec(id, 2).world) is kind


def test_a_world_has_a_name_an_id_and_an_entry_point():
    for name in ("match", "UniEnv/Match-v0", "unienv.worlds.match:Match"):
        world = unienv.make_world(name, kind="text")
        assert (type(world), world.kind) == (Match, "text")
    assert unienv.make_world(world) is world
    one_line(lambda: unienv.make_world(world, kind="text"), "kind")


def test_an_id_may_name_the_module_that_registers_it():
    kind, parameters = world_class(f"{__name__}:UniEnv/QuickDoors-v0")
    assert kind.__name__ == "Doors" and parameters == {"horizon": 2}


def test_what_is_a_world_by_whatever_name():
    named = ("match", "UniEnv/Match-v0", f"{__name__}:UniEnv/QuickDoors-v0")
    assert all(map(is_world, named))
    assert not any(map(is_world, ("matsch", "CartPole-v1", "tests.agents.tiny:TestStairs-v0")))


def test_registered_parameters_are_defaults():
    for make in (gym.make, gym.make_vec):
        assert make("UniEnv/QuickDoors-v0").unwrapped.world.horizon == 2
        assert make("UniEnv/QuickDoors-v0", horizon=9).unwrapped.world.horizon == 9
    assert unienv.make_world("quickdoors").horizon == 2
    assert unienv.make_world("quickdoors", horizon=9).horizon == 9


def test_a_short_name_is_the_highest_version():
    for version in (9, 10):
        unienv.register(f"Doors-v{version}", f"{__name__}:Doors", horizon=version)
    assert unienv.make_world("doors").horizon == 10


def test_a_taken_name_is_refused_and_stays():
    one_line(lambda: unienv.register("Match-v0", "unienv.worlds.goto:Goto"), "UniEnv/Match-v0")
    assert world_class("match")[0] is Match


def test_a_name_needs_a_version():
    one_line(lambda: unienv.register("Unversioned", f"{__name__}:Doors"), "Unversioned-v0")
    assert {"doors", "goto", "match", "quickdoors"} <= set(world_names())
    assert not any("unversioned" in name for name in world_names())


def test_misspelt_names_meet_the_nearest_one():
    one_line(lambda: unienv.make_world("mach"), "'mach'", "'match'")
    one_line(lambda: unienv.make_world("UniEnv/Goot-v0"), "'UniEnv/Goto-v0'")
    for make in (gym.make, gym.make_vec, unienv.make_world):
        one_line(lambda make=make: make("UniEnv/Match-v0", cuopling=0.5), "'cuopling'", "'coupling'")
        one_line(lambda make=make: make("UniEnv/Goto-v0", num_object=4), "'num_objects'")
        one_line(lambda make=make: make("UniEnv/Goto-v0", signal="lable"), "'label'")
    one_line(lambda: unienv.make_world("MATCH"), "did you mean 'match'")
    one_line(lambda: unienv.make_world(f"{__name__}:Plain", size=3), "'size'; it takes none")


@pytest.mark.parametrize(
    "name", ["nowhere:X", "unienv.worlds.match:Foo", "unienv.worlds.match:MatchState", "os:system"]
)
def test_what_is_no_world_is_told_in_one_line(name):
    one_line(lambda: unienv.make_world(name), name.partition(":")[0])


def test_a_module_that_is_not_there_is_told_in_one_line():
    one_line(lambda: is_world("nowhere:X-v0"), "no module 'nowhere'")
    one_line(lambda: is_world(".nowhere:X-v0"), "a module in full")


def test_backends_and_drivers_refuse_what_they_cannot_run():
    one_line(lambda: gym.make("UniEnv/Goto-v0", backend="torch"), "make_vec")
    one_line(lambda: unienv.make_world("goto", backend="jax"), "numpy", "torch", "'jax'")
    one_line(lambda: unienv.make_world("goto", device="cuda"), "backend='torch'")
    one_line(lambda: gym.make_vec("UniEnv/Goto-v0", 0), "num_envs")
    one_line(lambda: gym.make_vec("UniEnv/Goto-v0", 2, render_mode="human"), "rgb_array", "'human'")


@pytest.mark.parametrize("steps", [0, -1])
def test_a_limit_of_no_steps_is_refused(steps):
    one_line(lambda: gym.make_vec("UniEnv/Goto-v0", 2, max_episode_steps=steps), "max_episode_steps", str(steps))


def test_parameters_are_the_constructors():
    mine = ["size", "num_objects", "num_colours", "num_shapes", "horizon"]
    assert list(parameters_of(Goto)) == [*mine, "signal", "backend", "device"]
