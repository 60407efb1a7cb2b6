"""What each form of the shared latent can learn where feedback is joint: the ceilings stated by `match`, in small."""

import pytest
from scipy.stats import binomtest

from agents.objective import objective
from tests.agents.tiny import make_learner, small
from unienv.adapt import make_vector

MATCH = {"num_colours": 2, "num_shapes": 1}
EPISODES = 2000
CEILINGS = {"late": 3 / 4, "text": 1 / 2, "image": 1 / 2}


def wins_after(psi, updates):
    """Episodes won, of EPISODES on worlds not trained on."""
    agent = small(psi=psi)
    learner = make_learner(agent=agent, parameters=MATCH, total_steps=10**9, worlds=64, epochs=4, lr=3e-3)
    for _ in range(updates):
        learner.update()
    envs = make_vector("match", 50, **MATCH)
    return round(EPISODES * objective(envs, learner.policy(50, seed=0), 0.97, EPISODES, seed=1 << 30).success)


@pytest.mark.parametrize("psi, ceiling", CEILINGS.items())
def test_a_separable_form_stays_below_its_ceiling(psi, ceiling):
    assert binomtest(wins_after(psi, 45), EPISODES, ceiling, alternative="greater").pvalue > 1e-3


def test_joint_exceeds_them_all():
    assert binomtest(wins_after("joint", 45), EPISODES, max(CEILINGS.values()), alternative="greater").pvalue < 1e-6
