import numpy as np
import pytest
import torch

from experiments.config import parse
from experiments.dream import dream, open_loop
from experiments.evaluate import watch
from experiments.report import write_report
from experiments.strips import strips
from experiments.train import make_learner
from tests.experiments.test_report import Page, make_run

TINY = ["agent.dim=16", "agent.heads=2", "agent.hidden=32", "agent.queries=2", "ppo.worlds=8", "ppo.minibatches=1"]
GOTO = ["env=goto", "env.size=4", "env.num_colours=2", "env.num_shapes=2"]


def make(*arguments):
    config = parse([*TINY, "device=cpu", "agent.imagine=0", *arguments])
    return config, make_learner(config)


def dreamt(path, *arguments):
    dream(*make(*arguments), path)
    return dict(np.load(path, allow_pickle=False))


@pytest.fixture(scope="module")
def goto(tmp_path_factory):
    return dreamt(tmp_path_factory.mktemp("dreams") / "dreams.npz", *GOTO)


def by_episode(columns):
    return [{k: of[columns["episode"] == e] for k, of in columns.items()} for e in np.unique(columns["episode"])]


def test_what_is_foreseen_is_of_the_split_that_is_watched(tmp_path):
    config, learner = make("env=manual", "env.split=train", "env.size=3", "env.horizon=4")
    watch(config, learner, tmp_path / "episodes.npz")
    dream(config, learner, tmp_path / "dreams.npz")
    watched, dreams = (np.load(tmp_path / f"{name}.npz") for name in ("episodes", "dreams"))
    for number in range(4):
        assert dreams["text"][dreams["episode"] == number][0] == watched["text"][watched["episode"] == number][0]


def test_what_happened_is_what_is_watched(tmp_path):
    """The beginnings of the same episodes, though foreseen and watched apart."""
    config, learner = make(*GOTO)
    watch(config, learner, tmp_path / "episodes.npz")
    dream(config, learner, tmp_path / "dreams.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dreams.npz", "episodes.npz"]
    watched, dreams = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("episodes", "dreams"))
    assert (dreams["length"] > 12).any() and (dreams["length"] < 12).any()
    for number, mine in enumerate(by_episode(dreams)):
        whole = {key: of[watched["episode"] == number] for key, of in watched.items() if key != "action_names"}
        count = len(mine["said"])
        assert count == min(len(whole["said"]), 13) and (mine["length"] == len(whole["said"]) - 1).all()
        for key in ("frames", "text"):
            assert (mine[key] == whole[key][:count]).all()
        for key in ("said", "reward"):
            assert (mine[key][:-1] == whole[key][: count - 1]).all()


def test_shapes_and_ranges(goto):
    count = len(goto["episode"])
    assert all(len(of) == count for of in goto.values()) and set(goto["episode"]) == {0, 1, 2, 3}
    assert goto["imagined_frames"].shape == goto["frames"].shape and goto["frames"].dtype == np.uint8
    for key in ("pixels", "pixels_still", "words", "words_still", "chance_reward", "chance_end"):
        assert (goto[key] >= 0).all() and (goto[key] <= 1).all()
    for episode in by_episode(goto):
        assert (episode["said"][:-1] != "").all() and episode["said"][-1] == ""
        assert not episode["ended"][-1] and not episode["ended"][:-2].any()
        assert (episode["chance_end"][:-1] > 0).all() and episode["chance_end"][-1] == 0


def test_the_first_observation_is_given_as_it_is(goto):
    for episode in by_episode(goto):
        assert (episode["imagined_frames"][0] == episode["frames"][0]).all()
        assert episode["imagined_text"][0] == episode["text"][0]
        assert all(episode[key][0] == 1.0 for key in ("pixels", "pixels_still", "words", "words_still"))


def test_agreement_is_counted(goto):
    for episode in by_episode(goto):
        right = (episode["imagined_frames"] == episode["frames"]).all(axis=-1).mean(axis=(1, 2))
        still = (episode["frames"][:1] == episode["frames"]).all(axis=-1).mean(axis=(1, 2))
        assert np.allclose(episode["pixels"], right) and np.allclose(episode["pixels_still"], still)
        told = [
            np.mean([a == b for a, b in zip(one.split(), other.split(), strict=True)])
            for one, other in zip(episode["imagined_text"], episode["text"], strict=True)
        ]
        assert np.allclose(episode["words"], told)


def first_and_actions(learner):
    observation, _ = learner.envs.reset(seed=5)
    first = {name: torch.as_tensor(value)[:1] for name, value in observation.items()}
    return first, torch.tensor([[4], [4], [2], [0]])


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_open_loop_is_the_law_step_by_step(memory):
    """Each observation is the likeliest after the one before, with memory of all that was imagined."""
    _, learner = make(*GOTO, f"agent.memory={memory}")
    network, (first, actions) = learner.network, first_and_actions(learner)
    with torch.no_grad():
        for weight in network.evolution.parameters():  # a law that would change everything
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
        codes, chances = open_loop(network, first, actions)
        assert any((of[1:] != of[:1]).any() for of in codes.values())
        whole = network.evolution.prepared({name: of[:-1] for name, of in codes.items()})
        decision = network(whole, network.initial_carry(1), torch.tensor([[t == 0] for t in range(4)]))
        present = {name: of[:-1] for name, of in codes.items()}
        logits = network.evolution(decision.latents, decision.features, actions, present)
        log_odds = network.choices.at(decision.feedback, actions)
    assert {name: of.argmax(dim=-1).tolist() for name, of in logits.items()} == {
        name: of[1:].tolist() for name, of in codes.items()
    }
    assert torch.allclose(chances, log_odds.sigmoid(), atol=1e-5)


def test_foresight_is_given_the_beginning_and_the_actions(tmp_path, monkeypatch):
    given = []

    def note(network, first, actions, bfloat16):
        given.append(({name: value.numpy() for name, value in first.items()}, actions))
        return open_loop(network, first, actions, bfloat16)

    monkeypatch.setattr("experiments.dream.open_loop", note)
    columns = dreamt(tmp_path / "dreams.npz", *GOTO)
    for (first, actions), episode in zip(given, by_episode(columns), strict=True):
        assert first["image"].tolist() == episode["frames"][:1].tolist() and len(first["text"]) == 1
        names = np.array(["wait", "up", "down", "left", "right"])
        assert names[actions[:, 0].numpy()].tolist() == episode["said"][:-1].tolist()


def test_where_nothing_changes_there_is_no_figure(tmp_path):
    """An untrained law holds that all stays as it is, and in match it does; but episodes end."""
    columns = dreamt(tmp_path / "dreams.npz", "env=match")
    assert (columns["pixels"] == 1).all() and (columns["imagined_text"] == columns["text"]).all()
    assert columns["ended"].tolist() == [True, False] * 4
    assert 'class="panels"' not in strips(tmp_path / "dreams.npz")


@pytest.mark.parametrize("psi, kept", [("text", "words"), ("image", "pixels")])
def test_a_latent_of_one_modality_imagines_that_one(tmp_path, psi, kept):
    columns = dreamt(tmp_path / "dreams.npz", *GOTO, f"agent.psi={psi}")
    assert ("imagined_text" in columns, "imagined_frames" in columns) == (psi == "text", psi == "image")
    assert {"words", "pixels"} & set(columns) == {kept}
    page = Page(strips(tmp_path / "dreams.npz"))
    assert f"of the {psi} alone" in page.said
    assert sum(dict(a)["alt"].startswith("imagined") for tag, a in page.elements if tag == "img") == (
        len(columns["episode"]) if psi == "image" else 0
    )


def test_late_imagines_both(tmp_path):
    assert {"imagined_text", "imagined_frames"} < set(dreamt(tmp_path / "dreams.npz", *GOTO, "agent.psi=late"))


def test_actions_with_parts(tmp_path):
    columns = dreamt(tmp_path / "dreams.npz", "env=describe")
    assert columns["said"][0].startswith("image: ")


def test_dreams_repeat_and_leave_the_learner_as_it_was(tmp_path):
    (config, one), (_, two) = make(*GOTO), make(*GOTO)
    for name in ("one", "two"):
        dream(config, one, tmp_path / f"{name}.npz")
    first, second = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("one", "two"))
    assert first.keys() == second.keys() and all((first[key] == second[key]).all() for key in first)
    assert one.update() == two.update()


def test_dreams_come_into_the_report(tmp_path):
    folder = make_run(tmp_path)
    columns = dreamt(folder / "dreams.npz", *GOTO)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "Imagined and real" in page.said and "Imagined open loop" in page.said
    pictures = [dict(a) for tag, a in page.elements if tag == "img"]
    assert len(pictures) == 2 * len(columns["episode"])
    assert all(picture["src"].startswith("data:image/png;base64,") and picture["alt"] for picture in pictures)
