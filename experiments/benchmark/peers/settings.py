"""Hyperparameters of all peers, each as its library reads it: those usual for pixels, with Adam at 1e-3; not tuned.

`VALUE` weighs half the squared error in the PPO after CleanRL and the whole of it in the others.
"""

WORLDS = 16  # N
HORIZON = 128  # T, steps of a rollout
EPOCHS = 4
MINIBATCH = 128  # samples
LR = 1e-3
GAMMA = 0.99
LAMBDA = 0.95
CLIP = 0.2
ENTROPY = 0.01
VALUE = 0.5
MAX_GRAD_NORM = 0.5
FOREVER = 10**9  # steps: a judge ends the run
