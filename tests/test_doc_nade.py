"""DocNADE against the equations of its papers: running sums, full and tree softmax, and what reads them."""

import math
from pathlib import Path
from typing import Any

import arzoo_doc_nade
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from arzoo_doc_nade import softmax
from torch import Tensor

import arzoo
from arzoo import testing

DocNADE, DocNADEConfig = arzoo_doc_nade.DocNADE, arzoo_doc_nade.DocNADEConfig
FullSoftmax, TreeSoftmax, Words = softmax.FullSoftmax, softmax.TreeSoftmax, softmax.Words


def build(family: Any = DocNADE, **fields: Any) -> Any:
    return testing.random_model(family, family.config_class(**fields))


def documents(model: Any, num_documents: int, seed: int = 0) -> Tensor:
    return testing.random_events(model, num_documents, torch.Generator().manual_seed(seed))


def lengths_of(x: Tensor) -> Tensor:
    return (x >= 0).sum(1)


def slow_tree(weight: np.ndarray, bias: np.ndarray, order: list[int], h: np.ndarray) -> np.ndarray:
    """Probabilities of all words by walking the tree from its root; the leaves are numbered behind the nodes."""
    size = len(order)
    probs = np.zeros(size)

    def walk(node: int, p: float) -> None:
        if node >= size:
            probs[order[node - size]] = p
            return
        right = 1 / (1 + math.exp(-(bias[node - 1] + float(weight[node - 1] @ h))))
        walk(2 * node, p * (1 - right))
        walk(2 * node + 1, p * right)

    walk(1, 1.0)
    return probs


def slow_doc_nade(model: Any, parameters: dict[str, np.ndarray], x: np.ndarray, lengths: Any = None) -> np.ndarray:
    """Log-probabilities of every word (N, T), zero where there is none, by the definition in float64."""
    w, c, weight, bias = (parameters[name] for name in ("encoder", "encoder_bias", "softmax.weight", "softmax.bias"))
    g = np.tanh if model.config.activation == "tanh" else lambda a: 1 / (1 + np.exp(-a))
    result = np.zeros(x.shape)
    for n, document in enumerate(x):
        scale = 1 if lengths is None else int(lengths[n])
        for i, word in enumerate(document):
            if word < 0:
                break
            h = g(scale * c + sum((w[v] for v in document[:i]), np.zeros_like(c)))
            if model.config.softmax == "tree":
                probs = slow_tree(weight, bias, model.softmax.word_order.tolist(), h)
            else:
                scores = np.exp(weight @ h + bias)
                probs = scores / scores.sum()
            assert abs(probs.sum() - 1) < 1e-12
            result[n, i] = math.log(probs[word])
    return result


CASES = [
    {"num_categories": 11},
    {"num_categories": 8, "activation": "tanh"},
    {"num_categories": 9, "softmax": "full"},
    {"num_categories": 2, "softmax": "full", "activation": "tanh"},
    {"num_categories": 13, "scale_bias": True},
]


@pytest.mark.parametrize("fields", CASES)
def test_doc_nade_against_the_definition(fields: dict[str, Any]) -> None:
    model = build(event_shape=(7,), hidden_size=4, **fields)
    parameters = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
    x = documents(model, 8)
    lengths = lengths_of(x).maximum(torch.tensor([7, 6, 5, 4] * 2)) if model.context_names else None
    context = None if lengths is None else {"length": lengths}
    truth = slow_doc_nade(model, parameters, x.numpy(), lengths)
    np.testing.assert_allclose(model.site_log_prob(x, context).detach().numpy(), truth, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.log_prob(x, context).detach().numpy(), truth.sum(1), rtol=1e-5, atol=1e-5)

    weights = torch.linspace(0.5, 2, len(x))
    (model.log_prob(x, context) * weights).sum().backward()
    generator = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        for _ in range(8):
            place = tuple(int(generator.integers(size)) for size in parameter.shape)
            ends = []
            for step in (1e-5, -1e-5):
                moved = {key: value.copy() for key, value in parameters.items()}
                moved[name][place] += step
                ends.append((slow_doc_nade(model, moved, x.numpy(), lengths).sum(1) * weights.numpy()).sum())
            difference = (ends[0] - ends[1]) / 2e-5
            assert float(parameter.grad[place]) == pytest.approx(difference, rel=1e-3, abs=1e-4), (name, place)


@pytest.mark.parametrize("fields", CASES)
def test_conditionals_of_all_places_are_those_of_the_likelihood(fields: dict[str, Any]) -> None:
    model = build(event_shape=(7,), hidden_size=4, **fields)
    x = torch.randint(fields["num_categories"], (5, 7), generator=torch.Generator().manual_seed(0))
    context = {"length": torch.full((5,), 7)} if model.context_names else None
    words = model.conditionals(x, context)
    torch.testing.assert_close(words.log_prob(x), model.site_log_prob(x, context))
    every = words.logits.log_softmax(-1)
    assert every.shape == (5, 7, fields["num_categories"])
    torch.testing.assert_close(every.gather(2, x[..., None]).squeeze(2), words.log_prob(x))
    if model.config.softmax == "tree":  # normalised as it is
        torch.testing.assert_close(words.logits, every)


def test_doc_nade_has_the_parameters_of_the_papers() -> None:
    def count(**fields: Any) -> int:
        model = DocNADE(DocNADEConfig(event_shape=(100,), num_categories=2000, hidden_size=50, **fields))
        return sum(parameter.numel() for parameter in model.parameters())

    assert count(softmax="full") == 2000 * 50 + 50 + 2000 * 50 + 2000
    assert count(softmax="tree") == 2000 * 50 + 50 + 1999 * 50 + 1999  # a unit for every node above the leaves


# ---- the softmax, a chunk at a time


@pytest.mark.parametrize("kind", [FullSoftmax, TreeSoftmax])
@pytest.mark.parametrize("most", [1, 3, 512])
def test_chunks_change_neither_values_nor_gradients(kind: Any, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "MOST_PLACES", most)
    torch.manual_seed(0)
    layer, lengths = kind(11, 6), [1, 8, 4]
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
    hidden, words = torch.randn(13, 6, requires_grad=True), torch.randint(11, (13,))
    places = []
    right = layer.score
    monkeypatch.setattr(layer, "score", lambda inputs: places.append(len(inputs[0])) or right(inputs))
    tensors, weights = (hidden, layer.weight, layer.bias), torch.linspace(-1, 2, 13)
    log_prob = layer.log_prob(hidden, words, lengths)
    assert max(places) == min(most, 8) and sum(places) == 13
    found = torch.autograd.grad((log_prob * weights).sum(), tensors)
    plain = layer.logits(hidden).log_softmax(1).gather(1, words[:, None]).squeeze(1)
    truth = torch.autograd.grad((plain * weights).sum(), tensors)
    torch.testing.assert_close(log_prob, plain)
    for ours, theirs in zip(found, truth, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["full", "tree"])
def test_a_document_does_not_depend_on_its_batch_by_a_bit(kind: str) -> None:
    model = build(event_shape=(40,), num_categories=300, hidden_size=20, softmax=kind)
    x = documents(model, 30)
    whole = model.site_log_prob(x)
    for row in (0, 7, 29):
        size = int(lengths_of(x)[row])
        assert torch.equal(model.site_log_prob(x[row : row + 1, :size])[0], whole[row, :size])


@pytest.mark.parametrize("kind", ["full", "tree"])
def test_mixed_precision_changes_neither_values_nor_gradients(kind: str) -> None:
    model = build(event_shape=(6,), num_categories=9, hidden_size=5, softmax=kind)
    x, found = documents(model, 6), []
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            log_prob = model.log_prob(x)
            found.append([log_prob, *torch.autograd.grad(log_prob.sum(), list(model.parameters()))])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


# ---- the tree


@pytest.mark.parametrize("num_words", [2, 3, 4, 5, 7, 8, 9, 16, 21])
def test_the_tree_is_a_balanced_binary_tree(num_words: int) -> None:
    torch.manual_seed(0)
    layer = TreeSoftmax(num_words, 3)
    paths = layer.targets(torch.arange(num_words))
    lengths = (paths != 0).sum(1)
    assert {int(length) for length in lengths} <= {math.floor(math.log2(num_words)), math.ceil(math.log2(num_words))}
    assert sum(2.0**-length for length in lengths.tolist()) == 1  # Kraft: every leaf is a word
    assert len({tuple(path) for path in paths.tolist()}) == num_words
    assert paths.abs().unique()[-(num_words - 1) :].tolist() == list(range(1, num_words))  # every node is used
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
        hidden = torch.randn(4, 3)
        words = torch.arange(num_words).repeat(4)
        log_prob = layer.log_prob(hidden.repeat_interleave(num_words, 0), words, [num_words] * 4)
    torch.testing.assert_close(log_prob.exp().view(4, -1).sum(1), torch.ones(4))


@pytest.mark.parametrize("num_words", [2, 5, 8, 13])
def test_a_word_is_drawn_from_as_many_numbers_as_its_probability(num_words: int) -> None:
    """The numbers that stand for a word are one interval, so a grid of them counts it to within one."""
    torch.manual_seed(0)
    layer = TreeSoftmax(num_words, 3)
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_(std=2)
        hidden, grid = torch.randn(1, 3), 2**14
        uniforms = (torch.arange(grid, dtype=torch.float64) + 0.5) / grid
        drawn = layer.draw(hidden.expand(grid, -1), uniforms)
        probs = layer.logits(hidden)[0].double().exp()
    counts = drawn.bincount(minlength=num_words).double()
    assert float((counts - probs * grid).abs().max()) < 1 + 1e-2
    changes = (drawn[1:] != drawn[:-1]).sum()
    assert int(changes) == int((counts > 0).sum()) - 1


def test_words_without_probability_are_never_drawn() -> None:
    torch.manual_seed(0)
    layer = TreeSoftmax(8, 3)
    ends = torch.tensor([0.0, 1 - 2**-24, 1 - 2**-53, 0.5], dtype=torch.float64)
    for sign in (-1, 1):
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.fill_(200.0 * sign)  # always right, always left
            drawn = layer.draw(torch.randn(4, 3), ends)
        last = layer.word_order[7 if sign > 0 else 0]
        assert drawn.tolist() == [int(last)] * 4


def test_tree_conditionals_can_be_sharpened() -> None:
    model = build(event_shape=(5,), num_categories=7, hidden_size=4)
    likeliest = model.sample(3, top_k=1, length=5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.conditionals(likeliest).logits.argmax(-1), likeliest)
    assert torch.equal(likeliest, model.sample(3, top_k=1, length=5, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("kind", ["full", "tree"])
@pytest.mark.parametrize("num_words", [2, 6, 8])
def test_training_starts_at_the_frequencies_of_words(kind: str, num_words: int) -> None:
    torch.manual_seed(0)
    model = DocNADE(DocNADEConfig(event_shape=(9,), num_categories=num_words, hidden_size=3, softmax=kind))
    with torch.no_grad():
        model.softmax.weight.zero_()
    x = torch.where(torch.rand(50, 9) < 0.3, -1, (torch.rand(50, 9) ** 2 * num_words).long())
    x = torch.where((x < 0).cumsum(1) > 0, -1, x)
    x[:, 0] = x[:, 0].clamp_min(0)
    model.initialize(x)
    counts = torch.bincount(x[x >= 0], minlength=num_words).double() + 1
    found = model.site_log_prob(torch.arange(num_words)[:, None])[:, 0].double().exp()
    torch.testing.assert_close(found, counts / counts.sum(), atol=1e-6, rtol=1e-5)


# ---- documents


def test_perplexity_of_uniform_words_is_the_size_of_the_vocabulary() -> None:
    model = DocNADE(DocNADEConfig(event_shape=(30,), num_categories=64, hidden_size=3))
    with torch.no_grad():
        model.softmax.weight.zero_()
    x = documents(model, 20)
    torch.testing.assert_close(2 ** model.bits_per_dim(x), torch.full((20,), 64.0))
    torch.testing.assert_close(model.log_prob(x), -lengths_of(x) * math.log(64))


def test_a_document_is_the_sequence_that_is_given_but_its_embedding_is_of_the_bag() -> None:
    model = build(event_shape=(6,), num_categories=9, hidden_size=5)
    x = torch.tensor([[3, 1, 4, 1, 5, -1]])
    other = torch.tensor([[5, 1, 1, 4, 3, -1]])
    assert not torch.allclose(model.log_prob(x), model.log_prob(other), atol=1e-3)
    torch.testing.assert_close(model.embed(x), model.embed(other))


@pytest.mark.parametrize("fields", CASES)
def test_embeddings_are_the_hidden_units_after_the_last_word(fields: dict[str, Any]) -> None:
    model = build(event_shape=(7,), hidden_size=4, **fields)
    x = documents(model, 6)
    context = {"length": torch.full((6,), 7)} if model.context_names else None
    found = model.embed(x, context)
    assert found.shape == (6, 4) and not found.requires_grad
    w, c = model.encoder.detach().double().numpy(), model.encoder_bias.detach().double().numpy()
    for row, document in enumerate(x.tolist()):
        a = c * (7 if model.context_names else 1) + sum(w[word] for word in document if word >= 0)
        truth = np.tanh(a) if model.config.activation == "tanh" else 1 / (1 + np.exp(-a))
        np.testing.assert_allclose(found[row].numpy(), truth, atol=1e-5)


def test_topic_words_are_those_of_the_largest_weights() -> None:
    model = build(event_shape=(3,), num_categories=5, hidden_size=2)
    with torch.no_grad():
        model.encoder[:, 0] = torch.tensor([0.0, 3.0, -9.0, 2.0, 1.0])
        model.encoder[:, 1] = torch.tensor([5.0, -1.0, 4.0, -2.0, 0.0])
    assert model.topic_words(list("abcde"), 3) == [["b", "d", "e"], ["a", "c", "e"]]
    with pytest.raises(ValueError, match="vocabulary must have the model's 5 words, got 4"):
        model.topic_words(list("abcd"), 3)
    for number in (0, 6):
        with pytest.raises(ValueError, match=f"num_words must be 1 to 5, got {number}"):
            model.topic_words(list("abcde"), number)


def test_scaling_the_bias_counts_all_words_of_the_document() -> None:
    """The density of what a document of that length begins with; its sum is one whatever the length."""
    scaled = build(event_shape=(4,), num_categories=3, hidden_size=3, scale_bias=True)
    plain = build(event_shape=(4,), num_categories=3, hidden_size=3)
    plain.load_state_dict(scaled.state_dict())
    x = torch.cartesian_prod(*[torch.arange(3)] * 2)
    for length in (2, 3, 4):
        with torch.no_grad():
            plain.encoder_bias.copy_(length * scaled.encoder_bias)
        found = scaled.log_prob(x, {"length": torch.full((9,), length)})
        torch.testing.assert_close(found, plain.log_prob(x))
        assert float(found.detach().double().exp().sum()) == pytest.approx(1, abs=1e-5)
    lengths = torch.tensor([2, 4])
    sampled = scaled.sample(2, lengths, length=2, generator=torch.Generator().manual_seed(0))
    assert scaled.log_prob(sampled, lengths).isfinite().all()


def test_what_is_drawn_has_the_length_that_the_context_says() -> None:
    """Longer documents would have no likelihood under the same context."""
    model = build(event_shape=(5,), num_categories=6, hidden_size=3, scale_bias=True)
    lengths = torch.tensor([2, 5, 1, 3])
    draws = [model.sample(4, lengths, generator=torch.Generator().manual_seed(0))]
    draws += list(model.stream(4, lengths, generator=torch.Generator().manual_seed(0), every=1))[-1:]
    prompt, known = torch.full((4, 1), 4), torch.ones(4, 1, dtype=torch.bool)
    completion = model.complete(prompt, known, lengths, generator=torch.Generator().manual_seed(0))
    assert completion.exact and completion.events[:, 0].tolist() == [4] * 4
    for events in (*draws, completion.events):
        assert events.shape == (4, 5) and (events >= 0).sum(1).tolist() == lengths.tolist()
        assert model.log_prob(events, lengths).isfinite().all()
    assert torch.equal(draws[0], draws[1])
    with pytest.raises(ValueError, match="what is known is longer than the context says"):
        model.complete(torch.zeros(4, 2, dtype=torch.long), torch.ones(4, 2, dtype=torch.bool), lengths)


def test_words_of_a_given_number_are_drawn_from_what_the_definition_says() -> None:
    """The second of two words given the first: the frequencies of 20,000 draws."""
    model = build(event_shape=(4,), num_categories=3, hidden_size=3, scale_bias=True)
    lengths = torch.full((20_000,), 2)
    prompt, known = torch.ones(20_000, 1, dtype=torch.long), torch.ones(20_000, 1, dtype=torch.bool)
    events = model.complete(prompt, known, lengths, generator=torch.Generator().manual_seed(0)).events
    found = events[:, 1].bincount(minlength=3) / len(events)
    pairs = torch.tensor([[1, word] for word in range(3)])
    expected = model.log_prob(pairs, torch.full((3,), 2)).softmax(0)
    torch.testing.assert_close(found, expected.detach(), atol=0.015, rtol=0)


def test_a_tree_that_lacks_a_word_is_refused(tmp_path: Path) -> None:
    model = build(event_shape=(3,), num_categories=5, hidden_size=2)
    model.softmax.word_order.copy_(torch.tensor([0, 1, 1, 3, 4]))
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds no density: the tree's word_order must visit each of 0 to 4 once"):
        arzoo.load(tmp_path)


# ---- refusals


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[0, 1, 5]], "document 0 has word 5, the vocabulary has words 0 to 4; leave out"),
        ([[0, -2, -1]], "document 0 has word -2, the vocabulary has words 0 to 4"),
        ([[0, 1, 2], [-1, -1, -1]], "an event must have at least one step"),
        ([[-1, 2, 3]], "padding"),
        ([[0, 1, 2, 3]], r"events must have shape \(B, at most 3\), got \(1, 4\)"),
    ],
)
def test_what_is_no_document_is_refused(x: list[list[int]], message: str) -> None:
    model = build(event_shape=(3,), num_categories=5, hidden_size=2)
    for call in (model.log_prob, model.loss, model.embed, model.initialize):
        with pytest.raises(ValueError, match=message):
            call(torch.tensor(x))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int8, torch.int32])
def test_words_are_integers_of_any_kind(dtype: torch.dtype) -> None:
    """Where there are no signs, a comparison with the padding once refused every word."""
    model = build(event_shape=(3,), num_categories=5, hidden_size=2)
    x = torch.tensor([[0, 1, 4], [3, 3, 2]])
    assert torch.equal(model.log_prob(x.to(dtype)), model.log_prob(x))
    with pytest.raises(ValueError, match="document 1 has word 5, the vocabulary has words 0 to 4"):
        model.log_prob(torch.tensor([[0, 1], [4, 5]]).to(dtype))


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ([2, 3], "at least the number of words"),
        ([0, 3], "1 to 3"),
        ([3, 4], "1 to 3"),
        ([3.0, 3.0], "int64"),
        ([[3], [3]], "one a document"),
    ],
)
def test_lengths_that_cannot_be_are_refused(length: list[Any], message: str) -> None:
    model = build(event_shape=(3,), num_categories=5, hidden_size=2, scale_bias=True)
    with pytest.raises(ValueError, match=message):
        model.log_prob(torch.tensor([[0, 1, 2], [3, -1, -1]]), {"length": torch.tensor(length)})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"event_shape": (2, 3)}, r"event_shape must be \(words,\)"),
        ({"num_categories": None}, "num_categories must be the size of the vocabulary"),
        ({"num_categories": (2, 3, 2)}, "num_categories must be the size of the vocabulary"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"softmax": "flat"}, "softmax"),
    ],
)
def test_doc_nade_config_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DocNADEConfig(**{"event_shape": (3,), "num_categories": 5, **fields})


# ---- faults: each a right family with one thing changed


class InclusiveSum(DocNADE):
    """A word is told of itself."""

    def hidden(self, words: Tensor, lengths: list[int], context: Any) -> Tensor:
        parts = F.embedding(words, self.encoder).split(lengths)
        return torch.cat([self.activation(self.encoder_bias + part.cumsum(0)) for part in parts])


class SumOverTheBatch(DocNADE):
    """One running sum through all documents."""

    def hidden(self, words: Tensor, lengths: list[int], context: Any) -> Tensor:
        return super().hidden(words, [len(words)], context)


class OneSideOfTheTree(DocNADE):
    """The unit's probability whichever way a path goes: all words together are not one."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        right = self.softmax.targets
        self.softmax.targets = lambda words: right(words).abs()


class TreeWithAWordTwice(DocNADE):
    """Two leaves that are drawn as one word, and a word that never is."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.softmax.word_order[0] = self.softmax.word_order[1]


class DrawnOnTheOtherSide(DocNADE):
    """The sampler takes left for right."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        right = self.softmax.draw
        self.softmax.draw = lambda hidden, uniforms: self.softmax.word_order.flip(0)[
            self.softmax.word_order.argsort()[right(hidden, uniforms)]
        ]


class TreeIsNotSaved(DocNADE):
    """The words change places when the model is loaded."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.softmax.register_buffer("word_order", self.softmax.word_order, persistent=False)


class PaddingIsAWord(DocNADE):
    def _site_log_prob(self, x: Tensor, context: Any, member: int) -> Tensor:
        return self.conditionals(x.clamp_min(0), context).log_prob(x.clamp_min(0))


class MeanOverWords(DocNADE):
    """The per-word log-probability, which perplexity is made of, in place of the document's."""

    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        return super().log_prob(x, context) / (x >= 0).sum(1)


class LengthIsLookedUp(DocNADE):
    """c is multiplied by the number of words in the padded array."""

    def starts(self, num_documents: int, context: Any) -> Tensor:
        return super().starts(num_documents, context) * self.width

    def check_events(self, x: Tensor) -> Tensor:
        self.width = x.shape[1]
        return super().check_events(x)


@pytest.mark.parametrize(
    ("family", "check"),
    [
        (InclusiveSum, testing.check_causality),
        (InclusiveSum, testing.check_probabilities_sum_to_one),
        (SumOverTheBatch, testing.check_samples_in_a_batch_are_independent),
        (OneSideOfTheTree, testing.check_probabilities_sum_to_one),
        (TreeWithAWordTwice, testing.check_sample_frequencies),
        (DrawnOnTheOtherSide, testing.check_sample_frequencies),
        (TreeIsNotSaved, testing.check_saving_and_loading),
        (PaddingIsAWord, testing.check_padding_changes_nothing),
        (PaddingIsAWord, testing.check_probabilities_sum_to_one),
        (MeanOverWords, testing.check_sites_sum_to_log_prob),
        (LengthIsLookedUp, testing.check_padding_changes_nothing),
    ],
)
def test_faults_are_refused(family: Any, check: Any) -> None:
    check(build(**vars(DocNADE.tiny_configs()[0])))
    with pytest.raises(AssertionError):
        check(build(family, **vars(DocNADE.tiny_configs()[0])))
