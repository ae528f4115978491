"""Decoders: sooner than the parallel pass, and the same."""

from unittest import mock

import torch
from torch import Tensor

from arzoo.autoregressive import Autoregressive
from arzoo.decoding import Decoder, NaiveDecoder
from arzoo.model import NamedContext
from arzoo.testing.events import (
    differs,
    examples,
    fixed_generator,
    flat_sites,
    likelihoods,
    probe_events,
    random_context,
    shape_of,
)


@torch.no_grad()
def check_decoder_agrees_with_the_parallel_pass(model: Autoregressive) -> None:
    """Along random events, every conditional of the decoder is that of the parallel pass."""
    x, context = examples(model, 8, full=True)
    probes, values = probe_events(model, 8), flat_sites(model, x)
    for member in range(model.num_members):
        parallel = likelihoods(model, model.conditionals(x, context, member), probes)
        decoder = model.decoder(8, context, member)
        for step, site in enumerate(model.order(member).tolist()):
            for call in ("first", "second"):
                error = _distance(model, decoder, parallel[:, :, site], probes, site)
                assert error < 1e-4, (
                    f"the decoder's conditional of step {step} is {error:.2g} nats off that of the parallel pass"
                    f" (member {member}, {call} call of conditional)"
                )
            decoder.append(values[:, site])


@torch.no_grad()
def check_extend_is_repeated_append(model: Autoregressive) -> None:
    """A prompt gives the conditionals that its sites give one by one, wherever it ends."""
    x, context = examples(model, 5, full=True)
    probes, values = probe_events(model, 5), flat_sites(model, x)
    for member in range(model.num_members):
        order = model.order(member)
        parallel = likelihoods(model, model.conditionals(x, context, member), probes)
        for first in range(len(order)):
            decoder = model.decoder(5, context, member)
            if first:
                decoder.extend(values[:, order[: first // 2]])
                decoder.extend(values[:, order[first // 2 : first]])
            site = int(order[first])
            error = _distance(model, decoder, parallel[:, :, site], probes, site)
            assert error < 1e-4, (
                f"after extending by {first} sites the conditional is {error:.2g} nats off that of the parallel pass"
                f" (member {member})"
            )


@torch.no_grad()
def check_cached_and_naive_samples_agree(model: Autoregressive) -> None:
    """The same seed gives the same sample whether the decoder caches or makes a full pass a site."""

    def naive(num_samples: int, context: NamedContext = None, member: int = 0) -> Decoder:
        return NaiveDecoder(model, num_samples, context, member)

    context = random_context(model, 16, fixed_generator(3))
    cached = model.sample(16, context, generator=fixed_generator())
    with mock.patch.object(model, "decoder", naive):
        slow = model.sample(16, context, generator=fixed_generator())
    if cached.is_floating_point():
        assert not differs(cached, slow, 1e-3), "the same seed gives another sample from the naive decoder"
    assert cached.is_floating_point() or torch.equal(cached, slow), (
        "the same seed gives another sample from the naive decoder"
    )


def _distance(model: Autoregressive, decoder: Decoder, other: Tensor, probes: Tensor, site: int) -> float:
    """How far the decoder's next conditional is from log-probabilities (P, B) of the probes at this site."""
    conditional = decoder.conditional()
    given = shape_of(conditional.batch_shape), shape_of(conditional.event_shape)
    wanted = (probes.shape[1],), model.site_shape
    assert given == wanted, f"the decoder's conditionals have batch and event shape {given}, not {wanted}"
    mine = torch.stack([conditional.log_prob(flat_sites(model, probe)[:, site]) for probe in probes])
    # Log-probabilities that no sampler can tell from minus infinity need not agree.
    return float((mine.clamp_min(-40) - other.clamp_min(-40)).abs().max())
