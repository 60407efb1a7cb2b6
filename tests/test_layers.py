"""Who may import whom: unienv knows nobody, encoders know unienv, agents know both, experiments know all."""

import ast
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium.envs.registration import load_env_creator

import unienv
from unienv.registry import DRIVER, VECTOR_DRIVER, WORLDS

ROOT = Path(__file__).parents[1]
LAYERS = ["unienv", "encoders", "agents", "experiments"]
HEAVY = ["torch", "ray", "timm", "matplotlib", "PIL"]


def imports(source, inside_functions=True):
    """Top-level packages that a module's source imports."""
    found, nodes = set(), [ast.parse(source)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module.partition(".")[0])
        elif inside_functions or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            nodes += ast.iter_child_nodes(node)
    return found


def sources(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    return {file.relative_to(ROOT): file.read_text() for file in files}


def test_imports_are_found_wherever_they_stand():
    source = "import a.b\nif a:\n from c.d import e\nclass F:\n import g as h\n def i(self):\n  from j import k\n"
    assert imports(source) == {"a", "c", "g", "j"}
    assert imports(source, inside_functions=False) == {"a", "c", "g"}


@pytest.mark.parametrize("package", LAYERS)
def test_a_layer_imports_only_the_layers_below(package):
    above = set(LAYERS[LAYERS.index(package) + 1 :]) | {"tests"}
    assert {file: imports(source) & above for file, source in sources(package).items() if imports(source) & above} == {}


def test_unienv_needs_nothing_heavy_at_import():
    assert {
        file: imports(source, inside_functions=False) & set(HEAVY) for file, source in sources("unienv").items()
    } == {file: set() for file in sources("unienv")}


def test_importing_unienv_loads_nothing_heavy():
    code = "import sys, numpy, unienv; print(*(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert {"unienv", "gymnasium"} <= set(loaded.stdout.split())
    assert set(loaded.stdout.split()) & set(HEAVY + ["encoders", "agents", "experiments"]) == set()


def test_training_loads_only_what_it_uses():
    """Each takes seconds, in every run and in every worker."""
    code = "import sys, experiments.train; print(*(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "torch" in loaded.stdout.split()
    assert not {"timm", "torchvision", "diffusers", "ray", "matplotlib", "pandas"} & set(loaded.stdout.split())


@pytest.mark.parametrize("name", WORLDS)
def test_entry_points_resolve(name):
    spec = gym.spec(f"UniEnv/{name}")
    assert (spec.entry_point, spec.vector_entry_point) == (DRIVER, VECTOR_DRIVER)
    assert issubclass(load_env_creator(spec.entry_point), gym.Env)
    assert issubclass(load_env_creator(spec.vector_entry_point), gym.vector.VectorEnv)
    assert issubclass(load_env_creator(spec.kwargs["world"]), unienv.World)
