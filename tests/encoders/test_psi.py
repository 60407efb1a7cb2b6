import math

import pytest
import torch

from encoders.psi import FORMS, CrossAttention, Psi, partition

ALL = ("text", "image", "video")
GRIDS = {"text": None, "image": (3, 4), "video": (2, 2)}
PLACES = {"text": 5, "image": 12, "video": 4}
DIM = 16


def make(form, modalities=("text", "image"), layers=2, queries=3):
    torch.manual_seed(0)
    return Psi(partition(form, modalities), GRIDS, DIM, queries, layers, num_heads=2)


def latents(modalities=("text", "image"), batch=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, PLACES[name], DIM, generator=generator) for name in modalities}


def reach(psi, inputs):
    """Largest change of each stream by each modality's tokens, place by place: [stream][modality] (P,)."""
    inputs = {name: value.requires_grad_() for name, value in inputs.items()}
    rows = []
    for z in psi(inputs):
        grads = torch.autograd.grad(z.sin().sum(), list(inputs.values()), retain_graph=True, allow_unused=True)
        found = zip(inputs, grads, strict=True)
        rows.append({n: torch.zeros(PLACES[n]) if g is None else g.abs().amax(dim=(0, 2)) for n, g in found})
    return rows


@pytest.mark.parametrize("modalities", [ALL, ("image", "text"), ("video", "text")])
def test_forms_are_partitions(modalities):
    present = tuple(name for name in ALL if name in modalities)  # in this order, whatever the space's
    assert partition("joint", modalities) == (present,)
    assert partition("late", modalities) == tuple((name,) for name in present)
    for name in present:
        assert partition(name, modalities) == ((name,),)


def test_a_form_of_a_missing_modality_is_told_in_one_line():
    with pytest.raises(ValueError, match="psi=video needs video in the observation; there are only text, image") as e:
        partition("video", ("image", "text"))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("form, near", [("jont", "joint"), ("lat", "late"), ("imag", "image"), ("tex", "text")])
def test_an_unknown_form_gets_the_nearest_name(form, near):
    with pytest.raises(ValueError, match=f"did you mean '{near}'"):
        partition(form, ALL)


@pytest.mark.parametrize("sizes", [(5,), (5, 12), (1, 1, 7)])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_absorbed_attention_is_multi_head_attention(sizes, heads):
    torch.manual_seed(0)
    layer = CrossAttention(DIM, heads).double()
    state = torch.randn(2, 3, DIM, dtype=torch.float64)
    parts = [torch.randn(2, size, DIM, dtype=torch.float64) for size in sizes]
    tokens, width = torch.cat(parts, dim=1), DIM // heads
    asked = layer.ask(layer.attend_norm(state))
    seen = []
    for h in range(heads):
        query = asked[..., h * width : (h + 1) * width]
        key, value = tokens @ layer.keys[h].T, tokens @ layer.values[h].T
        weights = (query @ key.transpose(1, 2) / math.sqrt(width)).softmax(dim=-1)
        seen.append(weights @ value)
    attended = state + layer.answer(torch.cat(seen, dim=-1))
    expected = attended + layer.think(layer.think_norm(attended))
    torch.testing.assert_close(layer(state, parts), expected)


@pytest.mark.parametrize("modalities", [("text", "image"), ALL])
def test_joint_reads_every_token_of_every_modality(modalities):
    (row,) = reach(make("joint", modalities), latents(modalities))
    assert {name: bool((change > 1e-6).all()) for name, change in row.items()} == dict.fromkeys(modalities, True)


def test_joint_is_not_a_sum_over_modalities():
    psi, one, two = make("joint"), latents(seed=1), latents(seed=2)
    mixed = [{"text": t["text"], "image": i["image"]} for t in (one, two) for i in (one, two)]
    z = [psi(inputs)[0] for inputs in mixed]
    assert (z[0] - z[1] - z[2] + z[3]).abs().mean() > 0.1


@pytest.mark.parametrize("modalities", [("text", "image"), ALL])
def test_streams_of_late_read_one_modality_each(modalities):
    rows = reach(make("late", modalities), latents(modalities))
    for row, own in zip(rows, modalities, strict=True):
        assert (row.pop(own) > 1e-6).all()
        assert all((change == 0).all() for change in row.values())


@pytest.mark.parametrize("form", ALL)
def test_a_form_of_one_modality_needs_no_other(form):
    psi, inputs = make(form, ALL), latents(ALL)
    (alone,), (among) = psi({form: inputs[form]}), psi(inputs)[0]
    assert torch.equal(alone, among)
    other = {name: value if name == form else value * 9 for name, value in inputs.items()}
    assert torch.equal(psi(other)[0], alone)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layers", [1, 3])
def test_sizes_and_gradients_of_every_form(form, layers):
    psi, inputs = make(form, ALL, layers), latents(ALL)
    states = psi(inputs)
    assert [z.shape for z in states] == [(2, psi.size)] * len(partition(form, ALL))
    assert psi.size == 3 * DIM
    sum(z.sin().sum() for z in states).backward()
    assert [name for name, p in psi.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_readings_are_shared_out_among_streams():
    assert [len(stream.layers) for stream in make("joint", layers=4).streams] == [4]
    assert [len(stream.layers) for stream in make("late", layers=4).streams] == [2, 2]
    assert [len(stream.layers) for stream in make("late", layers=1).streams] == [1, 1]


@pytest.mark.parametrize("form", ["joint", "late"])
def test_the_rest_of_the_batch_does_not_count(form):
    psi, inputs = make(form), latents(batch=5)
    whole = torch.cat(psi(inputs), dim=1)
    alone = torch.cat(psi({name: value[2:3] for name, value in inputs.items()}), dim=1)
    torch.testing.assert_close(whole[2:3], alone)


@pytest.mark.parametrize("form", ["joint", "image"])
def test_where_a_token_stands_counts(form):
    """One token among equal ones, at two places that are both away from the edges."""
    inputs = {name: value[:, :1].expand_as(value).clone() for name, value in latents(batch=1).items()}
    psi = Psi(partition(form, inputs), {"text": None, "image": (7, 7)}, DIM, 3, 2, num_heads=2)
    blank = inputs["image"][:, :1].expand(1, 49, DIM)
    states = []
    for place in (2 * 7 + 2, 4 * 7 + 4):
        image = blank.clone()
        image[:, place] += 1.0
        states.append(psi({**inputs, "image": image})[0])
    assert (states[0] - states[1]).abs().max() > 1e-4


def test_neighbours_mix_in_the_light_of_the_other_modality():
    """What the text says changes how a place is seen: the effect of a pixel's token is not the same under two texts."""
    psi, one, two = make("joint"), latents(seed=1), latents(seed=2)
    mixing = psi.streams[0].mixing["image"]
    contexts = [t["text"].mean(dim=1) for t in (one, two)]
    seen = [mixing(one["image"], context) for context in contexts]
    assert (seen[0] - seen[1]).abs().mean() > 1e-2
    moved = one["image"].clone()
    moved[:, 0] += 1.0  # the corner of a grid of 3 x 4: its neighbours are the places 1, 4 and 5
    change = (mixing(moved, contexts[0]) - seen[0]).abs().amax(dim=(0, 2))
    assert (change > 1e-4).nonzero().flatten().tolist() == [0, 1, 4, 5]
