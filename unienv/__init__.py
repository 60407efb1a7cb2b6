"""unienv: environments whose feedback depends on text and image jointly, by a known amount.

Importing it registers the worlds: `gymnasium.make("UniEnv/Match-v0")`,
`gymnasium.make_vec("UniEnv/Goto-v0", num_envs=64)`.
"""

from unienv.registry import make_world, register, register_builtin_worlds, world_ids
from unienv.world import World

__version__ = "0.1.0"
__all__ = ["World", "make_world", "register", "world_ids"]

register_builtin_worlds()
