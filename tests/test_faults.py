"""Every classic fault of an autoregressive model, planted, is refused by the check that is named after it.

Each is a right family with one thing changed; among them are those that published re-implementations really had.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import arzoo_made
import arzoo_nade
import arzoo_pixelcnn
import pytest
import torch
import torch.nn.functional as F
import toys
from torch import Tensor, nn

import arzoo
from arzoo import testing
from arzoo.distributions import Bernoulli, Categorical
from arzoo.nn import MaskedConv2d

MADE, NADE, PixelCNN = arzoo_made.MADE, arzoo_nade.NADE, arzoo_pixelcnn.PixelCNN
FAULTS: list[Any] = []


def fault(*checks: Callable[[Any], None], config: int = 0) -> Callable[[type[arzoo.Model]], type[arzoo.Model]]:
    """Marks a family as wrong: each of these checks must refuse its tiny config of this number."""

    def mark(family: type[arzoo.Model]) -> type[arzoo.Model]:
        for check in checks:
            FAULTS.append(pytest.param(family, config, check, id=f"{family.__name__}-{check.__name__[6:]}"))
        return family

    return mark


# ---- likelihood


@fault(testing.check_probabilities_sum_to_one, testing.check_sites_sum_to_log_prob)
class OffByAConstant(NADE):
    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        return super().log_prob(x, context) + 0.01


@fault(testing.check_probabilities_sum_to_one, testing.check_sites_sum_to_log_prob)
class MeanOverDimensions(NADE):
    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        return self.member_log_prob(x, context).flatten(1).mean(1)


@fault(testing.check_loss)
class MeanOverDimensionsInTheLoss(NADE):
    def loss(self, x: Tensor, context: Any = None, noise: Tensor | None = None) -> Tensor:
        return -self.member_log_prob(x, context).flatten(1).mean(1)


@fault(testing.check_loss)
class MeanOverTheBatch(NADE):
    def loss(self, x: Tensor, context: Any = None, noise: Tensor | None = None) -> Tensor:
        return -self.log_prob(x, context).mean()


@fault(testing.check_probabilities_sum_to_one, testing.check_conditionals_are_those_of_log_prob)
class SigmoidsAsLogits(NADE):
    """Probabilities given to a distribution that takes logits: a density still, but never below 1/2."""

    class _Sigmoids(Bernoulli):
        def log_prob(self, value: Tensor) -> Tensor:
            return value * torch.sigmoid(self.logits).log()

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        return self._Sigmoids(super().conditionals(x, context, member).logits)


@fault(testing.check_probabilities_sum_to_one, testing.check_sites_sum_to_log_prob, config=1)
class LogitsAveragedOverMasks(MADE):
    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        x = self.check_events(x)
        self.check_context(len(x), context)
        logits = [self.conditionals(x, member=k).logits for k in range(self.num_members)]
        return Bernoulli(torch.stack(logits).mean(0)).log_prob(x).flatten(1).sum(1)


@fault(testing.check_sites_sum_to_log_prob, config=3)
class LogitsAveragedOverMasksOfOneOrder(LogitsAveragedOverMasks):
    """Under one order the averaged logits are a density, but not the average of the members."""


@fault(testing.check_sites_sum_to_log_prob, config=1)
class LogProbsAveragedOverMasks(MADE):
    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        return torch.stack([self.member_log_prob(x, context, k).flatten(1).sum(1) for k in range(3)]).mean(0)


@fault(testing.check_sites_sum_to_log_prob, config=1)
class AnotherMaskAtEveryCall(MADE):
    """The same input gives two answers."""

    calls = 0

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        self.calls += 1
        return super().conditionals(x, context, self.calls % 2)


@fault(testing.check_probabilities_sum_to_one, testing.check_padding_changes_nothing)
class PaddingCounts(toys.Text):
    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        inside = self.check_events(x).clamp_min(0)
        self.check_context(len(x), context)
        return self.conditionals(inside).log_prob(inside).sum(1)


@fault(testing.check_probabilities_sum_to_one)
class NoBound(toys.Latent):
    """The bound without the encoder's log q: above the likelihood."""

    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        x = self.check_events(x).flatten(1)
        self.check_context(len(x), context)
        log_p = Bernoulli(self.pixels.expand(len(x), -1, -1)).log_prob(x[:, None]).sum(2)
        return log_p.logsumexp(1)


@fault(testing.check_conditionals_are_those_of_log_prob, config=0)
class DensityWithoutItsScale(toys.Steps):
    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        class Unscaled(torch.distributions.Laplace):
            def log_prob(self, value: Tensor) -> Tensor:
                return -(value - self.loc).abs() / self.scale

        base = super().conditionals(x).base_dist
        return torch.distributions.Independent(Unscaled(base.loc, base.scale, validate_args=False), 1)


@fault(testing.check_conditionals_are_those_of_log_prob)
class MixtureOverTheWrongAxis(toys.Real):
    """Weights that sum to one over the sites instead of the components."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        class Mixture(torch.distributions.MixtureSameFamily):
            def log_prob(self, value: Tensor) -> Tensor:
                weights = self.mixture_distribution.logits.log_softmax(0)
                return (weights + self.component_distribution.log_prob(value[..., None])).logsumexp(-1)

        right = super().conditionals(x)
        return Mixture(right.mixture_distribution, right.component_distribution, validate_args=False)


@fault(testing.check_order_is_a_permutation)
class OrderOfFewerSites(NADE):
    def order(self, member: int = 0) -> Tensor:
        return super().order(member)[:-1]


# ---- causality


@fault(testing.check_causality, testing.check_probabilities_sum_to_one)
class MaskIsNotStrict(MADE):
    """The output mask >= instead of >."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        h = self.scalars.encode(x.flatten(1)).flatten(1)
        *before, ranks = self.degrees(member)
        for layer, (below, above) in zip(self.layers, pairwise(before), strict=True):
            h = layer(h, above[:, None] >= below).relu()
        return self.scalars.distribution(self.output(h, ranks[:, None] >= before[-1]).view(*x.shape, -1))


@fault(testing.check_causality)
class DirectConnectionSeesItself(MADE):
    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        right, inputs = super().conditionals(x, context, member), self.scalars.encode(x.flatten(1)).flatten(1)
        return Bernoulli(right.logits + 0.1 * (self.direct.weight.diagonal() * inputs).view(x.shape))


@fault(testing.check_sites_sum_to_log_prob, config=1)
class MasksWrittenIntoTheWeights(MADE):
    """What one mask hides is gone for the others."""

    @torch.no_grad()
    def kill(self, member: int) -> None:
        *before, ranks = self.degrees(member)
        for layer, (below, above) in zip(self.layers, pairwise(before), strict=True):
            layer.weight.mul_(above[:, None] >= below)
        self.output.weight.mul_(ranks[:, None] > before[-1])

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        self.kill(member)
        return super().conditionals(x, context, member)


@fault(testing.check_causality, testing.check_probabilities_sum_to_one)
class InclusiveCumulativeSum(NADE):
    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        inputs = self.scalars.encode(x.flatten(1))  # (B, D, R)
        a = self.encoder_bias + torch.einsum("bdr,drh->bdh", inputs, self.encoder).cumsum(1)
        logits = torch.einsum("bdh,drh->bdr", a.sigmoid(), self.output) + self.output_bias
        return self.scalars.distribution(logits.view(*x.shape, -1))


class _Conv(MaskedConv2d):
    """A masked convolution in place of the first one, with another centre."""

    @classmethod
    def plant(cls, model: PixelCNN, include_self: bool) -> None:
        channels = model.config.event_shape[0]
        width = 2 * model.config.hidden_size
        model.first = MaskedConv2d(channels, width, 7, include_self=include_self, num_groups=channels)


@fault(testing.check_causality, testing.check_probabilities_sum_to_one, config=0)
@fault(testing.check_causality, testing.check_probabilities_sum_to_one, config=1)
class MaskBInTheFirstLayer(PixelCNN):
    """A pixel's colours see themselves."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        _Conv.plant(self, include_self=True)


@fault(testing.check_causality, config=1)
class ColoursInAnotherOrder(PixelCNN):
    """One layer takes its channel groups as B, G, R."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.head.mask.copy_(self.head.mask.flip(1))


@fault(testing.check_causality, config=1)
class GroupsInterleaved(PixelCNN):
    """The last layer counts channels as 0 1 2 0 1 2 where the others count 0 0 1 1 2 2."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        into = torch.arange(self.head.weight.shape[0]) % 3
        self.output.mask[:, :, 0, 0] = (into <= torch.arange(3)[:, None]).float()


@fault(testing.check_causality, config=1)
class UnmaskedOneByOne(PixelCNN):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.head.mask.fill_(1)


@fault(testing.check_causality)
class PaddedOnBothSides(PixelCNN):
    """A kernel of full height, its lower rows unmasked: the context of a denoiser, not a density."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        right = super().conditionals(x, context, member)
        return Bernoulli(right.logits + F.avg_pool2d(x.float(), 3, 1, 1) * self.output.bias.view(-1, 1, 1))


@fault(testing.check_causality, testing.check_probabilities_sum_to_one)
class ShiftedTooLittle(toys.Text):
    """Predicts the token that it is given."""

    def before(self, member: int = 0) -> Tensor:
        rank = self.order(member)
        return (rank[:, None] >= rank).float()[:, None, :, None]


@fault(testing.check_causality)
class OrderOfAnother(MADE):
    """The weights go by one order, `order` says another."""

    def order(self, member: int = 0) -> Tensor:
        return super().order(member).flip(0)


@fault(testing.check_order_is_a_permutation)
class OrderVisitsASiteTwice(MADE):
    def order(self, member: int = 0) -> Tensor:
        order = super().order(member).clone()
        order[0] = order[1]
        return order


@fault(testing.check_causality)
class ColoursSeeThemselves(toys.Pixels):
    """The joint distribution of a pixel's colours depends on what they are."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        right = super().conditionals(x, context, member)
        return toys.Pair(right.first * (1 + self.sites(x)[..., :1]), right.second)


@fault(testing.check_components_multiply_to_the_site, testing.check_sample_frequencies)
class ColoursAreDrawnOnTheirOwn(toys.Pixels):
    """The second colour is drawn without regard to the first."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        class Pair(toys.Pair):
            def component(self, values: Tensor) -> Categorical:
                return super().component(values * 0)

            def take(self, index: Any) -> Any:
                return Pair(self.first[index], self.second[index])

        right = super().conditionals(x, context, member)
        return Pair(right.first, right.second)


# ---- batches


class _Normalised(toys.Linear):
    """Linear conditionals behind BatchNorm."""

    config_class = toys.ToyConfig
    family = "toy_normalised"

    def __init__(self, config: toys.ToyConfig) -> None:
        super().__init__(config, 1, 1)
        self.norm = nn.BatchNorm1d(config.dims)

    @classmethod
    def tiny_configs(cls) -> list[toys.ToyConfig]:
        return [toys.ToyConfig(event_shape=(5,))]

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        return Bernoulli(self.linear(self.norm(x.float())[..., None]).squeeze(-1).float())


@fault(testing.check_samples_in_a_batch_are_independent, testing.check_causality)
class BatchNormInTraining(_Normalised):
    """Right when it is evaluated."""


@fault(testing.check_samples_in_a_batch_are_independent, testing.check_causality)
class BatchStatisticsInEvaluation(_Normalised):
    def __init__(self, config: toys.ToyConfig) -> None:
        super().__init__(config)
        self.norm = nn.BatchNorm1d(config.dims, track_running_stats=False)


# ---- decoders and samples


@fault(testing.check_sample_frequencies, testing.check_sampling_walks_in_order)
class SamplesInNaturalOrder(MADE):
    @torch.no_grad()
    def _walk(self, num_samples, context, length, sharpening, generator, every):  # type: ignore[no-untyped-def]
        if num_samples < 1:
            raise ValueError("num_samples")
        x = torch.full((num_samples, self.config.dims), -1)
        for i, u in enumerate(torch.rand(self.config.dims, num_samples, generator=generator)):
            x[:, i] = Bernoulli(self.conditionals(x.clamp_min(0)).logits[:, i]).draw(u)
            if every:
                yield x.clone()
        yield x


@fault(testing.check_decoder_agrees_with_the_parallel_pass, testing.check_cached_and_naive_samples_agree)
class DecoderInNaturalOrder(MADE):
    def decoder(self, num_samples: int, context: Any = None, member: int = 0) -> Any:
        outer = self

        class Natural(arzoo.Decoder):
            x, step = torch.zeros(num_samples, outer.config.dims, dtype=torch.long), 0

            def conditional(self) -> Any:
                return Bernoulli(outer.conditionals(self.x).logits[:, self.step])

            def append(self, value: Tensor) -> None:
                self.x[:, self.step] = value
                self.step += 1

        return Natural()


@fault(
    testing.check_decoder_agrees_with_the_parallel_pass,
    testing.check_sample_frequencies,
    testing.check_extend_is_repeated_append,
)
class DecoderForgets(NADE):
    """The samples are never conditioned on what was drawn."""

    def decoder(self, num_samples: int, context: Any = None, member: int = 0) -> Any:
        decoder = super().decoder(num_samples)
        add = decoder.append
        decoder.append = lambda value: add(torch.zeros_like(value))  # type: ignore[method-assign]
        decoder.draw = lambda uniforms: None  # type: ignore[method-assign]
        return decoder


@fault(testing.check_cached_and_naive_samples_agree, testing.check_sample_frequencies)
class DrawsWhatIsUnlikely(NADE):
    """The walk site by site is right, that of all sites at once is not."""

    def decoder(self, num_samples: int, context: Any = None, member: int = 0) -> Any:
        decoder = super().decoder(num_samples)
        decoder.draw = lambda uniforms: (uniforms < 0.1).long()  # type: ignore[method-assign]
        return decoder


@fault(testing.check_decoder_agrees_with_the_parallel_pass, testing.check_sample_frequencies, config=1)
class DecoderOfAnotherMember(MADE):
    def decoder(self, num_samples: int, context: Any = None, member: int = 0) -> Any:
        return super().decoder(num_samples, context, 0)


@fault(testing.check_extend_is_repeated_append)
class ExtendSkipsASite(NADE):
    def decoder(self, num_samples: int, context: Any = None, member: int = 0) -> Any:
        decoder = super().decoder(num_samples)
        decoder.extend = lambda values: [decoder.append(v) for v in values.flip(1).unbind(1)]  # type: ignore
        return decoder


def _clip_scale(decoder: arzoo.Decoder) -> arzoo.Decoder:
    conditional = decoder.conditional

    def clipped() -> Any:
        right: Any = conditional()
        right.component_distribution.scale = right.component_distribution.scale.clamp(max=0.5)
        return right

    decoder.conditional = clipped  # type: ignore[method-assign]
    return decoder


@fault(testing.check_sample_frequencies)
class ScaleIsClippedWhenDrawing(toys.Real):
    """Real values drawn with a scale that is cut."""

    def decoder(self, num_samples: int, context: Any = None, member: int = 0) -> Any:
        return _clip_scale(super().decoder(num_samples))


@fault(testing.check_sample_frequencies)
class ScaleOfAMemberIsClipped(toys.RealOrders):
    """It is cut under the second of two orders only."""

    def decoder(self, num_samples: int, context: Any = None, member: int = 0) -> Any:
        right = super().decoder(num_samples, context, member)
        return _clip_scale(right) if member else right


@fault(testing.check_samples_are_events)
class SamplesFromTheGlobalGenerator(NADE):
    def sample(self, num_samples: int, *args: Any, generator: Any = None, **options: Any) -> Tensor:
        return super().sample(num_samples, *args, **options)


@fault(testing.check_sample_frequencies)
class LatentIsNeverDrawn(toys.Latent):
    """A latent model with the tightest of bounds, whose sampler knows one cause only."""

    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        x = self.check_events(x).flatten(1)
        log_p = Bernoulli(self.pixels.expand(len(x), -1, -1)).log_prob(x[:, None]).sum(2)
        return (log_p + self.prior.log_softmax(0)).logsumexp(1)

    def sample(self, num_samples: int, context: Any = None, *, generator: Any = None, **options: Any) -> Tensor:
        uniforms = torch.rand(num_samples, self.config.dims, generator=generator)
        return Bernoulli(self.pixels[:1].expand(num_samples, -1)).draw(uniforms).view(-1, *self.config.event_shape)


# ---- completion


@fault(testing.check_completion_keeps_what_is_known)
class CompletesEverything(NADE):
    def complete(self, x: Tensor, known: Tensor, *args: Any, **options: Any) -> Any:
        return super().complete(x, known & False, *args, **options)


@fault(testing.check_completion_keeps_what_is_known)
class CallsEveryCompletionExact(NADE):
    def complete(self, *args: Any, **options: Any) -> Any:
        done = super().complete(*args, **options)
        return arzoo.Completion(events=done.events, exact=True, density=done.density)


@fault(testing.check_completion_frequencies)
class CompletesWithAnyMember(toys.Coins):
    """The member is drawn without regard to what is known."""

    def _posterior_members(self, x: Tensor, kept: Tensor, context: Any, generator: Any) -> Tensor:
        return torch.randint(self.num_members, (len(x),), generator=generator)


# ---- numbers, parameters, files


@fault(testing.check_conditionals_are_float32)
class ConditionalsInBfloat16(NADE):
    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        return Bernoulli(super().conditionals(x, context, member).logits.bfloat16())


@fault(testing.check_conditionals_are_float32)
class ConditionalsInMixedPrecision(MADE):
    """Right until it is trained under autocast."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        inputs = self.scalars.encode(x.flatten(1)).flatten(1)
        ranks = self.degrees(member)[0]
        return Bernoulli(self.direct(inputs, ranks[:, None] > ranks).view(x.shape))


@fault(testing.check_every_parameter_is_used)
class AParameterNothingUses(NADE):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.forgotten = nn.Linear(3, 3)


@fault(testing.check_saving_and_loading)
class RandomOrderIsNotSaved(MADE):
    family = "made_unsaved"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.register_buffer("orders", self.orders, persistent=False)


@fault(testing.check_splitting_the_batch_changes_nothing)
class LossOfTheWholeBatch(NADE):
    def loss(self, x: Tensor, context: Any = None, noise: Tensor | None = None) -> Tensor:
        loss = super().loss(x, context, noise)
        return loss + 0.1 * (loss - loss.mean())


@fault(testing.check_splitting_the_batch_changes_nothing)
class NoiseDrawnInside(toys.Orderless):
    """The loss draws for itself what it was given."""

    def loss(self, x: Tensor, context: Any = None, noise: Tensor | None = None) -> Tensor:
        return super().loss(x, context, self.noise(len(x)))


@fault(testing.check_refuses_what_is_no_event)
class TakesAnything(NADE):
    def check_events(self, x: Tensor) -> Tensor:
        return x.long().clamp(0, 1)


@fault(testing.check_context_may_be_the_tensor)
class TakesTheContextByNameAlone(toys.Labelled):
    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        x = self.check_events(x)
        self.check_context(len(x), context)
        return self.conditionals(x, context).log_prob(x).flatten(1).sum(1)


@fault(testing.check_context_may_be_the_tensor)
class ForgetsTheBareTensor(toys.Labelled):
    def check_context(self, num_examples: int, context: Any) -> Any:
        named = super().check_context(num_examples, context)
        return {"label": named["label"] * 0} if isinstance(context, Tensor) else named


@fault(testing.check_refuses_another_context)
class TakesAnyRowsOfContext(toys.Labelled):
    def check_context(self, num_examples: int, context: Any) -> Any:
        if not isinstance(context, dict):
            raise ValueError("a label, please")
        label = context["label"] if set(context) == {"label"} else None
        if not isinstance(label, Tensor) or label.dim() == 0:
            raise ValueError("a label, please")
        return {"label": label[torch.arange(num_examples) % len(label)]}


@fault(testing.check_padding_changes_nothing, testing.check_sites_sum_to_log_prob)
class PaddedChordsCount(toys.Notes):
    def log_prob(self, x: Tensor, context: Any = None) -> Tensor:
        inside = self.check_events(x).clamp_min(0)
        return self.conditionals(inside).log_prob(inside).sum(1)


@fault(testing.check_samples_are_events, config=1)
class GoesOnAfterTheEnd(toys.Text):
    def sample(self, num_samples: int, *args: Any, generator: Any = None, **options: Any) -> Tensor:
        return torch.randint(3, (num_samples, 4), generator=generator)


@fault(testing.check_conditionals_are_those_of_log_prob, config=1)
class ConditionalsOfSmallerWeights(toys.Text):
    """The likelihood map of a sequence is another one behind its second step."""

    def _site_log_prob(self, x: Tensor, context: Any, member: int) -> Tensor:
        return super()._site_log_prob(x, context, member) * torch.linspace(1, 0.5, x.shape[1])


@fault(testing.check_log_prob_is_one_number_an_event)
class ExampleIsABareTensor(toys.Labelled):
    def example_context(self, num_examples: int, generator: Any) -> Any:
        return super().example_context(num_examples, generator)["label"]


@fault(testing.check_refuses_another_context)
class IgnoresTheContext(NADE):
    def check_context(self, num_examples: int, context: Any) -> None:
        pass


@pytest.mark.parametrize(("family", "config", "check"), FAULTS)
def test_fault_is_caught(family: type[arzoo.Model], config: int, check: Callable[[Any], None]) -> None:
    model = testing.random_model(family, family.tiny_configs()[config])
    with pytest.raises(AssertionError) as caught:
        check(model)
    assert "then fails with" not in str(caught.value)  # refused for what it is, not for an accident
