import pytest
import torch

from agents.play import Play, Replay
from encoders.distinct import Distinct
from encoders.tensors import load_tensors, save_tensors
from tests.agents.tiny import make_learner, small


def steps(rewards, ends, first=0):
    """Steps that show their own number, as a distinct item and as a plain one."""
    number = torch.arange(first, first + len(rewards))
    seen = {"text": Distinct(number[:, None] + 100, torch.arange(len(rewards))), "image": number[:, None].float()}
    return Play(
        seen, number[:, None], torch.tensor(rewards), torch.tensor(ends, dtype=torch.bool), {"text": number[:, None]}
    )


def numbers(play):
    """Numbers of the steps, which all fields must agree on."""
    text = play.observations["text"]
    told = play.actions[:, 0].tolist()
    assert (text.items[text.which][:, 0] - 100).tolist() == told
    assert play.observations["image"][:, 0].tolist() == told and play.following["text"][:, 0].tolist() == told
    return told


def test_kinds_of_feedback():
    assert steps([0.0, -1.0, 0.5, 1.0], [0, 1, 0, 1]).kind.tolist() == [0, 1, 2, 3]


def test_the_newest_of_each_kind_are_kept_and_all_that_is_new_is_known():
    replay = Replay(most=2)
    assert numbers(replay.add(steps([0.0, 1.0, 0.0, 0.0], [0, 1, 0, 0]))) == [0, 1, 2, 3]
    assert numbers(replay.kept) == [1, 2, 3]
    assert numbers(replay.add(steps([0.0, 0.0, 1.0], [0, 1, 0], first=4))) == [1, 2, 3, 4, 5, 6]
    assert numbers(replay.kept) == [1, 3, 4, 5, 6]
    assert len(replay.kept.observations["text"].items) == 5  # items of steps that are not kept are not either


def test_what_is_kept_comes_back_from_tensors():
    replay, other = Replay(most=2), Replay(most=2)
    replay.add(steps([0.0, 1.0, 0.0, 0.0], [0, 1, 0, 0]))
    other.restore(replay.tensors(), like=steps([0.0], [0]))
    assert numbers(other.kept) == [1, 2, 3]
    other.restore({}, like=steps([0.0], [0]))
    assert other.kept is None and other.tensors() == {}


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda held: held | {"actions": held["actions"].float()}, "form"),
        (lambda held: held | {"rewards": held["rewards"][:, None]}, "form"),
        (lambda held: {name: value for name, value in held.items() if name != "following.text"}, "form"),
        (lambda held: held | {"more": held["rewards"]}, "form"),
        (lambda held: held | {"rewards": held["rewards"][:1]}, "incomplete"),
        (lambda held: held | {"observations.text.which": held["observations.text.which"][:1]}, "incomplete"),
        (lambda held: held | {"observations.text.which": held["observations.text.which"] + 1}, "not kept"),
        (lambda held: held | {"observations.text.which": held["observations.text.which"] - 1}, "not kept"),
    ],
)
def test_damaged_tensors(damage, said):
    replay, other = Replay(most=2), Replay(most=2)
    replay.add(steps([0.0, 1.0, 0.0, 0.0], [0, 1, 0, 0]))
    with pytest.raises(ValueError, match=said):
        other.restore(damage(replay.tensors()), like=steps([0.0], [0]))


@pytest.mark.parametrize("imagine", [None, 0])
def test_play_that_was_cut_off_goes_on_as_if_it_had_not_been(imagine, tmp_path):
    """Weights after two rounds are the same, whether the second learner was saved and loaded between them or not."""
    make = dict(play=1.0, total_steps=10_000, agent=small(imagine=imagine))
    whole = make_learner(**make)
    whole.update()
    whole.save(tmp_path)
    known = whole.update()
    resumed = make_learner(**make)
    assert resumed.load(tmp_path)
    assert len(resumed.replay.kept.actions) == 16 * 16
    assert resumed.update() == known
    for (name, one), other in zip(
        whole.network.state_dict().items(), resumed.network.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


def test_an_agent_that_acts_keeps_no_play():
    learner = make_learner(play=0.5, total_steps=16 * 16 * 2)
    learner.update()
    assert learner.replay.kept is not None
    learner.update()
    assert learner.replay.kept is None


def test_what_is_rare_is_learned_from_again_in_later_rounds(monkeypatch):
    rounds = []
    monkeypatch.setattr("agents.learner.foresee", lambda *args: rounds.append(args[2].kind) or {})
    learner = make_learner("manual", play=1.0, total_steps=100_000, worlds=64)
    for _ in range(3):
        learner.update()
    ends = [int((kind == 1).sum()) for kind in rounds]
    assert 0 < ends[0] < ends[1] < ends[2]


def test_a_checkpoint_with_damaged_play_is_refused_in_one_line(tmp_path):
    learner = make_learner(play=1.0, total_steps=10_000)
    learner.update()
    learner.save(tmp_path)
    path = next(tmp_path.rglob("worlds-0.safetensors"))
    held = load_tensors(path)
    save_tensors(path, held | {"replay.rewards": held["replay.rewards"][:3]})
    with pytest.raises(ValueError, match="or is damaged: steps of play are incomplete") as error:
        make_learner(play=1.0, total_steps=10_000).load(tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
