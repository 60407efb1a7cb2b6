"""The network that the peers train: what their users would write for a picture and a few words."""

import math
from collections.abc import Mapping

import torch
from gymnasium import spaces
from torch import Tensor, nn

from encoders.size import closest_shape
from unienv.modality import IMAGE, TEXT

_WORD = 32  # numbers a word


class Reader(nn.Module):
    """The convolutions of Mnih et al. 2015 for the image, an embedding of each word, and two layers on both.

    Args:
        space: Dict of text (L,) and image (H, W, 3).
        width: of the two layers.
    """

    def __init__(self, space: spaces.Dict, width: int) -> None:
        super().__init__()
        words, image = space[TEXT], space[IMAGE]
        assert isinstance(words, spaces.Box) and isinstance(image, spaces.Box)
        self.look = nn.Sequential(
            nn.Conv2d(3, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU()
        )
        self.word = nn.Embedding(int(words.high.max()) + 1, _WORD)
        height, breadth = (((side - 4) // 4 - 2) // 2 - 2 for side in image.shape[:2])
        size = 64 * height * breadth + _WORD * words.shape[0]
        self.think = nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        for layer in (*self.look, *self.think):
            if isinstance(layer, nn.Linear | nn.Conv2d):  # as Stable-Baselines3 and CleanRL begin
                nn.init.orthogonal_(layer.weight, math.sqrt(2))
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Text (B, L) and image (B, H, W, 3) in [0, 255], of any type -> (B, width)."""
        pixels = observation[IMAGE].permute(0, 3, 1, 2).float() / 255
        parts = self.look(pixels).flatten(1), self.word(observation[TEXT].long()).flatten(1)
        return self.think(torch.cat(parts, dim=1))


class ActorCritic(nn.Module):
    """A reader with logits of k actions and a value."""

    def __init__(self, space: spaces.Dict, num_actions: int, width: int) -> None:
        super().__init__()
        self.reader = Reader(space, width)
        self.policy, self.value = nn.Linear(width, num_actions), nn.Linear(width, 1)
        nn.init.orthogonal_(self.policy.weight, 0.01)
        nn.init.orthogonal_(self.value.weight)

    def forward(self, observation: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Observations -> logits (B, k) and values (B,)."""
        features = self.reader(observation)
        return self.policy(features), self.value(features)[:, 0]


def width_of(space: spaces.Dict, num_actions: int, parameters: int) -> int:
    """The width at which `ActorCritic` comes within 2 % of a number of parameters."""
    shapes = ((width,) for width in range(16, 400, 2))
    return closest_shape(lambda width: ActorCritic(space, num_actions, width), shapes, parameters, 0.02)[0]
