import pytest
import torch

from encoders.distinct import distinct_rows
from encoders.text.utterance import TextEncoder
from unienv.modality import PAD

UTTERANCES = torch.tensor([[4, 2, 7, 1, 3, 5], [4, 2, 7, 1, 0, 0], [6, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])


def make(length=6, seed=0):
    torch.manual_seed(seed)
    return TextEncoder(vocabulary_size=8, length=length, dim=16, num_heads=2)


def rows_of(module):
    """A list that grows by the number of rows of each call."""
    rows = []
    module.register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    return rows


def test_a_latent_for_every_place():
    latents = make()(distinct_rows(UTTERANCES))
    assert latents.shape == (4, 6, 16)
    assert latents.isfinite().all()  # those of the empty utterance too


def test_gradients_reach_every_parameter():
    encoder = make()
    encoder(distinct_rows(UTTERANCES)).square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_what_the_padding_looks_like_does_not_reach_words():
    encoder = make()
    before = encoder(distinct_rows(UTTERANCES[:3])).detach()
    with torch.no_grad():
        encoder.embed.weight[PAD] = -encoder.embed.weight[PAD]
    after = encoder(distinct_rows(UTTERANCES[:3])).detach()
    words = UTTERANCES[:3] != PAD
    assert torch.equal(before[words], after[words])
    assert not torch.isclose(before[~words], after[~words]).all(dim=1).any()


@pytest.mark.parametrize("extra", [1, 5])
def test_more_padding_does_not_change_words(extra):
    short, long = make(4), make(4 + extra)
    with torch.no_grad():
        for name, parameter in long.named_parameters():
            parameter[:4].copy_(short.place) if name == "place" else parameter.copy_(short.get_parameter(name))
    tokens = UTTERANCES[1:3, :4]
    padded = torch.nn.functional.pad(tokens, (0, extra))
    words = tokens != PAD
    torch.testing.assert_close(long(distinct_rows(padded))[:, :4][words], short(distinct_rows(tokens))[words])


def test_words_know_their_neighbours_and_their_order():
    tokens = torch.tensor([[1, 2, 3, 0, 0, 0], [1, 3, 2, 0, 0, 0], [1, 2, 4, 0, 0, 0]])
    first = make()(distinct_rows(tokens))[:, 0]
    assert torch.pdist(first).min() > 1e-3


def test_every_utterance_is_encoded_once():
    encoder = make()
    rows = rows_of(encoder.transformer)
    which = torch.tensor([0, 2, 0, 0, 1, 2])
    latents = encoder(distinct_rows(UTTERANCES[which]))
    assert rows == [3]
    assert torch.equal(latents[0], latents[2]) and torch.equal(latents[1], latents[5])
    torch.testing.assert_close(latents, encoder(distinct_rows(UTTERANCES))[which])
