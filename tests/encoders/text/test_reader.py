"""An environment's word ids as a bridge's tokens and as its latents."""

import pytest
import torch

from encoders.distinct import distinct_rows
from encoders.precision import autocast
from encoders.text.reader import LatentTextEncoder, Reader
from encoders.text.tokens import Bytes, Words, learn_byte_pairs
from encoders.text.vae import TextVAE, VAEConfig
from unienv.modality import PAD, Vocabulary

WORLD = Vocabulary(["red", "ring", "'s", "go-to", "42", "é,"])
SENTENCES = ["red", "red ring", "red red 's go-to 42", "", "'s red é,", "go-to ring é, 42 red red"]
LENGTH = 6
TOKENS = {
    "words": Words(Vocabulary(["42", "go-to", "blue", "ring", "é,", "red", "'s"])),
    "bytes": Bytes(),
    "bpe": learn_byte_pairs(["red ring red ring", "go-to red ring 's 's red", "42 red ring é, é,"], 290),
}


def utterances(*sentences, vocabulary=WORLD, length=LENGTH):
    return torch.stack([torch.from_numpy(vocabulary.encode(sentence, length)) for sentence in sentences])


def make(kind="words", patch=1, vocabulary=WORLD, seed=0):
    torch.manual_seed(seed)
    tokens = TOKENS[kind]
    return Reader(
        TextVAE(len(tokens), VAEConfig(width=16, layers=1, heads=2, latent=4, patch=patch)), tokens, vocabulary
    )


def encoder(reader, length=LENGTH, dim=16):
    return LatentTextEncoder(reader, length, dim)


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("patch", [1, 2, 3])
def test_rows_are_those_of_the_text(kind, patch):
    """The bridge sees what it was trained on: the row of the sentence, end and padding included."""
    reader = make(kind, patch)
    rows = reader.rows(utterances(*SENTENCES))
    assert rows.shape[1] == reader.num_latents(LENGTH) * patch
    assert rows.tolist() == [TOKENS[kind].row(sentence, rows.shape[1]) for sentence in SENTENCES]


def test_words_take_one_token_and_an_end():
    assert [make(patch=patch).num_latents(6) for patch in (1, 2, 7, 8)] == [7, 4, 1, 1]
    assert make("bytes").num_latents(2) == 2 * len(" go-to") + 1


@pytest.mark.parametrize("kind", TOKENS)
def test_padding_between_words_counts_for_nothing(kind):
    red, ring = WORLD.id("red"), WORLD.id("ring")
    apart = torch.tensor([[PAD, red, PAD, ring, PAD, PAD]])
    assert torch.equal(make(kind).rows(apart), make(kind).rows(utterances("red ring")))


@pytest.mark.parametrize("kind", TOKENS)
def test_words_in_buckets_read_as_one_hidden_token(kind):
    vocabulary, tokens = Vocabulary(WORLD.words, buckets=4), TOKENS[kind]
    rows = make(kind, vocabulary=vocabulary).rows(utterances("red strange ring", "other", vocabulary=vocabulary))
    expected = [tokens.encode("red") + [tokens.mask] + tokens.encode(" ring"), [tokens.mask]]
    assert [[i for i in row if i] for row in rows.tolist()] == [[*row, tokens.end] for row in expected]


def test_means_are_those_of_the_posterior_and_0_at_padding():
    reader = make(patch=2)
    means = reader(utterances("red ring", "red"))
    rows = torch.tensor([TOKENS["words"].row(sentence, 8) for sentence in ("red ring", "red")])
    assert means.shape == (2, 4, 4)
    assert torch.equal(means, reader.vae.posterior(rows).mean)
    assert means[0, 1].any() and not means[0, 2:].any() and not means[1, 1:].any()


def test_words_that_the_bridge_lacks_are_named():
    tokens = Words(Vocabulary(["ring", "42"]))
    with pytest.raises(
        ValueError, match="not know the environment's 'red', \"'s\", 'go-to' and 1 more: train"
    ) as error:
        Reader(TextVAE(len(tokens), VAEConfig(width=16, heads=2)), tokens, WORLD)
    assert "study=bridge" in str(error.value) and "\n" not in str(error.value)


def test_words_that_the_bridge_holds_in_buckets_are_known():
    tokens = Words(Vocabulary(["ring"], buckets=3))
    reader = Reader(TextVAE(len(tokens), VAEConfig(width=16, heads=2)), tokens, WORLD)
    assert reader.rows(utterances("red ring")).tolist() == [tokens.row("red ring", 7)]


def test_latents_of_every_utterance_are_read_once_from_a_frozen_model():
    reader = make()
    model, seen = encoder(reader), []
    reader.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    said = utterances("red", "red ring", "red", "", "red")
    latents = model(distinct_rows(said))
    assert seen == [3] and latents.shape == (5, 7, 16) and latents.isfinite().all()
    assert torch.equal(latents[0], latents[2]) and not torch.equal(latents[0], latents[1])
    latents.square().sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {"project.weight", "project.bias", "place"}
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == trained
    model.train()
    assert model.training and not any(module.training for module in reader.modules())


def test_places_differ_and_more_room_changes_no_word():
    short, long = encoder(make(), 3), encoder(make(), 6)
    with torch.no_grad():
        long.project.load_state_dict(short.project.state_dict())
        long.place[:4] = short.place
    said = ("red ring", "red red 's")
    found = [model(distinct_rows(utterances(*said, length=n))) for model, n in ((short, 3), (long, 6))]
    torch.testing.assert_close(found[1][:, :4], found[0])


def test_low_precision_is_close():
    model = encoder(make())
    exact = model(distinct_rows(utterances(*SENTENCES)))
    with autocast(torch.device("cpu"), True):
        low = model(distinct_rows(utterances(*SENTENCES)))
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), exact, rtol=0.05, atol=0.05)
