"""What every family must hold to, as checks that know nothing of it but the contract.

A plugin author runs them all in one line, `arzoo.testing.check_family("my_family")`, or one at a time, as a test each:

    @pytest.mark.parametrize("check, model", arzoo.testing.cases(MyFamily))
    def test_conformance(check, model):
        check(model)

The models are the family's `tiny_configs()` with weights of normal noise, so that no layer which starts at zero hides
anything.  Where the events are few enough they are all enumerated and the truth is exact.  Every check leaves the model
and torch's global generator as they were; what it finds wrong is an AssertionError of one sentence.
"""

from collections.abc import Callable
from typing import Any

from arzoo import registry
from arzoo.autoregressive import Autoregressive
from arzoo.model import Model
from arzoo.testing.causality import (
    check_causality,
    check_conditionals_are_float32,
    check_order_is_a_permutation,
    check_samples_in_a_batch_are_independent,
)
from arzoo.testing.completion import check_completion_frequencies, check_completion_keeps_what_is_known
from arzoo.testing.configs import check_config_survives_json, check_saving_and_loading, check_tiny_configs
from arzoo.testing.decoders import (
    check_cached_and_naive_samples_agree,
    check_decoder_agrees_with_the_parallel_pass,
    check_extend_is_repeated_append,
)
from arzoo.testing.events import all_events, random_events, random_model
from arzoo.testing.likelihood import (
    check_components_multiply_to_the_site,
    check_conditionals_are_those_of_log_prob,
    check_log_prob_is_one_number_an_event,
    check_padding_changes_nothing,
    check_probabilities_sum_to_one,
    check_sites_sum_to_log_prob,
)
from arzoo.testing.refusals import (
    check_context_may_be_the_tensor,
    check_refuses_another_context,
    check_refuses_what_is_no_event,
)
from arzoo.testing.samples import check_sample_frequencies, check_samples_are_events, check_sampling_walks_in_order
from arzoo.testing.training import (
    check_every_parameter_is_used,
    check_loss,
    check_splitting_the_batch_changes_nothing,
)

__all__ = [
    "CHECKS",
    "DECODER_CHECKS",
    "MODEL_CHECKS",
    "all_events",
    "cases",
    "check_cached_and_naive_samples_agree",
    "check_causality",
    "check_completion_frequencies",
    "check_completion_keeps_what_is_known",
    "check_components_multiply_to_the_site",
    "check_conditionals_are_float32",
    "check_conditionals_are_those_of_log_prob",
    "check_config_survives_json",
    "check_context_may_be_the_tensor",
    "check_decoder_agrees_with_the_parallel_pass",
    "check_every_parameter_is_used",
    "check_extend_is_repeated_append",
    "check_family",
    "check_log_prob_is_one_number_an_event",
    "check_loss",
    "check_order_is_a_permutation",
    "check_padding_changes_nothing",
    "check_probabilities_sum_to_one",
    "check_refuses_another_context",
    "check_refuses_what_is_no_event",
    "check_sample_frequencies",
    "check_samples_are_events",
    "check_samples_in_a_batch_are_independent",
    "check_sampling_walks_in_order",
    "check_saving_and_loading",
    "check_sites_sum_to_log_prob",
    "check_splitting_the_batch_changes_nothing",
    "check_tiny_configs",
    "checks_of",
    "random_events",
    "random_model",
]

MODEL_CHECKS: tuple[Callable[[Any], None], ...] = (
    check_config_survives_json,
    check_probabilities_sum_to_one,
    check_log_prob_is_one_number_an_event,
    check_padding_changes_nothing,
    check_samples_in_a_batch_are_independent,
    check_samples_are_events,
    check_sample_frequencies,
    check_loss,
    check_every_parameter_is_used,
    check_splitting_the_batch_changes_nothing,
    check_saving_and_loading,
    check_refuses_what_is_no_event,
    check_refuses_another_context,
    check_context_may_be_the_tensor,
)
"""What every model must pass, a bound too."""

DECODER_CHECKS: tuple[Callable[[Any], None], ...] = (
    check_decoder_agrees_with_the_parallel_pass,
    check_extend_is_repeated_append,
    check_cached_and_naive_samples_agree,
)
"""What a family's own decoder must pass."""

CHECKS: tuple[Callable[[Any], None], ...] = (
    *MODEL_CHECKS,
    check_order_is_a_permutation,
    check_causality,
    check_conditionals_are_float32,
    check_sites_sum_to_log_prob,
    check_conditionals_are_those_of_log_prob,
    check_components_multiply_to_the_site,
    *DECODER_CHECKS,
    check_sampling_walks_in_order,
    check_completion_keeps_what_is_known,
    check_completion_frequencies,
)
"""What every family that is given by its conditionals must pass."""


def cases(family: type[Model] | str) -> list[tuple[Callable[[Any], None], Model]]:
    """Every check with every tiny model of a family."""
    family = registry.get_family(family) if isinstance(family, str) else family
    models = [random_model(family, config) for config in family.tiny_configs()]
    return [(check, model) for model in models for check in checks_of(family)]


def checks_of(family: type[Model]) -> tuple[Callable[[Any], None], ...]:
    """The checks that a family must pass: all, if it is autoregressive."""
    return CHECKS if issubclass(family, Autoregressive) else MODEL_CHECKS


def check_family(family: type[Model] | str) -> None:
    """Runs every check on every tiny model of a family.

    Arguments:
        family: A class, or the name of an installed family.

    Raises:
        AssertionError: Says what is wrong, and with which check and config.
    """
    family = registry.get_family(family) if isinstance(family, str) else family
    check_tiny_configs(family)
    for check, model in cases(family):
        try:
            check(model)
        except AssertionError as error:
            raise AssertionError(f"{check.__name__}: {error} [{model.config}]") from error
