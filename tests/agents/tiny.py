"""Small worlds and networks whose numbers can be told by hand."""

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from agents.choices import Choices
from agents.learner import Learner
from agents.network import AgentConfig, Decision
from agents.ppo import PPOConfig
from unienv.adapt import make_vector
from unienv.modality import pixel_space, text_space

STAIRS = "tests.agents.tiny:TestStairs-v0"
CPU = torch.device("cpu")
torch.set_num_threads(1)  # tensors are so small that threads cost more than they bring


class Stairs(gym.Env):
    """Text and pixels tell the step t; action 1 ends the episode with reward t + 1, three steps truncate it."""

    observation_space = spaces.Dict({"text": spaces.Box(0, 9, (2,), np.int32), "image": pixel_space((8, 8, 3))})
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observe(), {}

    def step(self, action):
        self.t += 1
        return self._observe(), float(self.t * action), bool(action), self.t == 3 and not action, {}

    def _observe(self):
        return {"text": np.full(2, self.t, np.int32), "image": np.full((8, 8, 3), 50 * self.t, np.uint8)}


gym.register("TestStairs-v0", Stairs)


class Coins(VectorEnv):
    """Every slot tosses a coin of its own: heads, with probability p[i], end its episode; heads at once are success."""

    def __init__(self, p):
        self.p, self.num_envs = np.asarray(p), len(p)
        self.single_action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.generator = np.random.default_rng(seed)
        self.t = np.zeros(self.num_envs, np.int64)
        return {"text": self.t}, {}

    def step(self, actions):
        over = self.generator.random(self.num_envs) < self.p
        self.t += 1
        info = {"final_info": {"success": over & (self.t == 1)}} if over.any() else {}
        self.t[over] = 0
        return {"text": self.t}, over.astype(float), over, over & False, info


class Reader:
    """In a network's place: V is the first word plus 100 times the number of steps remembered; actions are as told."""

    def __init__(self, log_odds=0.0):
        self.logits, self.encoder, self.choices = torch.tensor([0.0, log_odds]), self, Choices([2])
        self.evolution = None

    def prepare(self, observation):
        return {"text": observation["text"]}

    def initial_carry(self, batch):
        return torch.zeros(batch, 1, 1)

    def __call__(self, prepared, carry, start=None):
        kept = carry if start is None else carry * ~start[0][:, None, None]
        word = prepared["text"][:, 0].float()
        logits = self.logits.expand(len(word), 2)
        return Decision(logits, word + 100 * kept[:, 0, 0], torch.zeros(len(word), 2, 2), kept + 1)


def small(**shape):
    return AgentConfig(**{"dim": 16, "heads": 2, "hidden": 32, "queries": 2, **shape})


def space_of(words, length=4, height=16, width=16):
    from unienv.modality import Vocabulary

    vocabulary = Vocabulary([f"w{i}" for i in range(words)])
    return spaces.Dict({"text": text_space(vocabulary, length), "image": pixel_space((height, width, 3))})


def make_learner(env="match", seed=0, agent=None, total_steps=100_000, parameters=None, **ppo):
    config = PPOConfig(**{"worlds": 16, "horizon": 4, "minibatches": 2, "epochs": 2, "play": 0.0, **ppo})
    agent = agent or small()
    return Learner(lambda n: make_vector(env, n, **(parameters or {})), agent, config, total_steps, seed, CPU)
