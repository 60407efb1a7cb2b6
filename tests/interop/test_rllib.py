"""RLlib's PPO on every world. What its users need:

- what `ray[rllib]` brings besides Ray itself, but for its pinned Gymnasium: dm-tree, lz4 and ormsgpack;
- `FlatActions`, for its default models know no Dict actions;
- the connector `FlattenObservations`, for they know no Dict observations either. It makes one row of words and pixels:
  enough to begin with; encoders that read them as what they are belong into an `RLModule` of one's own.
"""

import gymnasium as gym
import numpy as np
import pytest

from agents.distributed import session
from tests.interop import SMALL
from unienv.wrappers import FlatActions

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-"),  # one that RLlib registers for itself
]


@pytest.fixture(scope="module", autouse=True)
def ray():
    """One Ray for all tests; it must not be imported before its settings are made."""
    with session(workers=1, address=None):
        yield
    for id in [id for id in gym.registry if id.startswith("rllib-")]:
        del gym.registry[id]


def configure(id, parameters):
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.connectors.env_to_module import FlattenObservations
    from ray.tune import register_env

    register_env(f"Flat{id}", lambda config: FlatActions(gym.make(id, **config)))
    config = PPOConfig().environment(f"Flat{id}", env_config=parameters)
    config.env_runners(num_env_runners=0, env_to_module_connector=lambda *_, **__: FlattenObservations())
    config.training(train_batch_size=64, minibatch_size=32, num_epochs=1)
    config.rl_module(model_config={"fcnet_hiddens": [16]})
    return config.debugging(seed=0)


def weights(algorithm):
    return np.concatenate([part.ravel() for part in algorithm.get_module().get_state().values()])


@pytest.mark.parametrize("id", SMALL)
def test_ppo_learns(id):
    algorithm = configure(id, SMALL[id]).build_algo()
    try:
        before = weights(algorithm)
        told = algorithm.train()
        change = np.abs(weights(algorithm) - before).max()
    finally:
        algorithm.stop()
    losses = told["learners"]["default_policy"]
    assert 0 < change < 1
    assert all(np.isfinite(losses[name]) for name in ("policy_loss", "vf_loss", "total_loss", "entropy"))
    played = told["env_runners"]
    assert played["num_env_steps_sampled"] >= 64 and played["num_episodes"] > 0
    assert 0 <= played["episode_return_min"] <= played["episode_return_max"] <= played["episode_len_max"]
