"""Other libraries on every world, in small versions: id -> parameters. A world that needs a file is left out."""

from unienv.registry import NAMESPACE, WORLDS, needs, world_class

KINDS = {f"{NAMESPACE}/{name}": world_class(entry_point)[0] for name, entry_point in WORLDS.items()}
SMALL = {id: dict(kind.small) for id, kind in KINDS.items() if not needs(kind)}
