import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from agents import checkpoint
from encoders.tensors import load_tensors, save_tensors
from tests.agents.tiny import make_learner, small


def write(folder, steps, **tensors):
    with checkpoint.begin(folder, steps) as aside:
        save_tensors(aside / "agent.safetensors", {"steps": torch.tensor(steps), **tensors})
    return checkpoint.complete(aside)


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    learner = make_learner()
    learner.update()
    learner.save(folder)
    return folder


def test_tensors_come_back_as_they_were(tmp_path):
    tensors = {
        "view": torch.arange(12.0).view(3, 4).T,
        "flags": torch.tensor([True, False]),
        "count": torch.tensor(7),
        "none": torch.zeros(2, 0),
        "low": torch.ones(2, dtype=torch.bfloat16),
    }
    save_tensors(tmp_path / "a.safetensors", tensors)
    loaded = load_tensors(tmp_path / "a.safetensors")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[k], tensors[k]) and loaded[k].dtype == tensors[k].dtype for k in tensors)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_newest_whole_checkpoint_counts(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    first = write(tmp_path, 20)
    write(tmp_path, 3)
    with checkpoint.begin(tmp_path, 30):
        pass  # never completed
    assert checkpoint.newest(tmp_path) == first
    assert int(load_tensors(first / "agent.safetensors")["steps"]) == 20


def test_checkpoints_are_ordered_by_steps_however_many(tmp_path):
    """Runs may take more steps than the names of folders have digits."""
    for steps in (9_999_999_997, 9_999_999_998, 10_000_000_000):
        latest = write(tmp_path, steps)
    assert checkpoint.newest(tmp_path) == latest


def test_only_the_newest_are_kept(tmp_path):
    for steps in (10, 20, 30, 40):
        write(tmp_path, steps)
    assert names(tmp_path) == [f"{steps:010d}" for steps in (10, 20, 30, 40)[-checkpoint.KEPT :]]


def test_a_checkpoint_of_equal_steps_stays_and_is_whole_all_the_time(tmp_path):
    final = write(tmp_path, 5, value=torch.zeros(2))
    before = (final / "agent.safetensors").stat().st_ino
    assert write(tmp_path, 5, value=torch.zeros(2)) == final
    assert names(tmp_path) == [f"{5:010d}"] and (final / "agent.safetensors").stat().st_ino == before


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"", lambda data: b"x" * 64])
def test_damaged_files_are_told_in_one_line(tmp_path, damage):
    path = write(tmp_path, 1, value=torch.ones(99)) / "agent.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"agent\.safetensors is damaged") as error:
        load_tensors(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_told_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"there is no checkpoint file .*b\.safetensors"):
        load_tensors(tmp_path / "b.safetensors")


def test_the_optimisers_state_comes_back_by_name():
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)) for _ in range(2)]
    optimisers = [torch.optim.Adam(network.parameters(), lr=0.1) for network in networks]
    data = torch.randn(8, 3)

    def descend(index):
        optimisers[index].zero_grad()
        networks[index](data).square().mean().backward()
        optimisers[index].step()

    descend(0)
    descend(0)
    networks[1].load_state_dict(networks[0].state_dict())
    tensors = checkpoint.optimiser_tensors(networks[0], optimisers[0])
    tensors = {name: value.clone() for name, value in tensors.items()}
    checkpoint.restore_optimiser(networks[1], optimisers[1], tensors)
    for index in range(2):
        descend(index)
    assert all(torch.equal(a, b) for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True))


def test_half_of_an_optimisers_state_is_told_in_one_line():
    network = nn.Linear(3, 1)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(2, 3)).sum().backward()
    optimiser.step()
    tensors = checkpoint.optimiser_tensors(network, optimiser)
    del tensors["optimiser.weight.exp_avg_sq"]
    with pytest.raises(ValueError, match=r"^the optimiser's state of weight is not whole: it has exp_avg, step$"):
        checkpoint.restore_optimiser(network, optimiser, tensors)


def test_a_folder_without_checkpoint_is_no_mistake(tmp_path):
    assert make_learner().load(tmp_path) is False


@pytest.mark.parametrize("shape", [{"dim": 8}, {"memory": "gru"}, {"hidden": 64}, {"psi": "late"}])
def test_weights_of_another_network_are_told_in_one_line(saved, shape):
    with pytest.raises(ValueError, match="holds another network") as error:
        make_learner(agent=small(**shape)).load(saved)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_checkpoint_is_told_in_one_line(tmp_path):
    learner = make_learner()
    weights = {f"network.{name}": value for name, value in learner.network.state_dict().items()}
    with checkpoint.begin(tmp_path, 1) as aside:
        save_file(weights, aside / "agent.safetensors")  # all the weights, and no count of steps
    checkpoint.complete(aside)
    with pytest.raises(ValueError, match=r"agent\.safetensors"):
        learner.load(tmp_path)
