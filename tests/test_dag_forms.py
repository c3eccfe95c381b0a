"""The form of a trial by hand: what it offers, refuses and leaves as it is."""

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ParamValidationError
from airflow.sdk import Context
from test_dags import DAGS, dag, eks, experiment

from airflow_llm_provisioning.dag_factory import (
    configured_experiment,
    load_experiment,
    single_trial,
    single_trial_params,
)


def test_without_configuration_the_examples_targets_stand_together() -> None:
    """The form of a trial by hand offers them all."""
    files = [DAGS / "experiments" / f"{name}.yaml" for name in ("example", "simulated")]
    together = configured_experiment(*files)
    assert len(together.targets) == sum(len(load_experiment(file).targets) for file in files)


def test_the_form_offers_what_there_is() -> None:
    """Enums of the experiment's own targets and variants; every default is one that validates."""
    params = single_trial_params(experiment(eks("a", "baseline"), eks("b", "fast_download", "baseline")))
    assert params["target"].schema["enum"] == ["a", "b"]
    assert params["variant"].schema["enum"] == ["baseline", "fast_download"]
    for name, param in params.items():
        param.resolve()
        assert param.schema["title"], name
        assert param.description, name


def test_the_form_can_be_sent_as_it_opens() -> None:
    """Airflow's form counts a field as missing, and disables its button, where the value is empty and the type does not
    allow null.
    """
    params = single_trial_params(experiment())
    empty = [name for name, param in params.items() if param.resolve() in (None, "")]
    assert empty == ["model", "image"]
    assert all("null" in params[name].schema["type"] for name in empty)


@pytest.mark.parametrize(("value", "rendered"), [(None, ""), ("", ""), ("acme/m", "acme/m")])
def test_an_empty_field_of_the_form_overrides_nothing(value: str | None, rendered: str) -> None:
    """Rendered as a template, null is not the text "None"."""
    drawn = experiment()
    with dag(params=single_trial_params(drawn)) as made:
        single_trial(drawn)
    context = Context(params={"model": value, "image": value})  # type: ignore[typeddict-item]
    plan = made.get_task("plan")
    assert plan.render_template(plan.model, context) == {"model_id": rendered, "image": rendered}


@pytest.mark.parametrize(
    ("name", "value"), [("target", "b"), ("setup", "elastic"), ("variant", "improved"), ("time_limit_s", 5)]
)
def test_the_form_refuses_what_it_does_not_offer(name: str, value: Any) -> None:
    """Airflow checks the choices against the form before any task runs."""
    params = single_trial_params(experiment(eks("a", "baseline")))
    with pytest.raises(ParamValidationError, match=r"is not one of|is less than"):
        params[name].resolve(value)


def test_a_trial_by_hand_reads_its_cell_from_the_form() -> None:
    """Plan, one trial, judgement; what is templated is what the form has."""
    drawn = experiment()
    with dag(params=single_trial_params(drawn)) as made:
        single_trial(drawn)
    assert set(made.task_ids) == {"plan", "open", "apply", "wait", "close", "judge"}
    assert made.get_task("plan").only["target"] == "{{ params.target }}"
    assert made.get_task("open").timeout_s == "{{ params.time_limit_s }}"
    assert {task.task_id for task in made.leaves} == {"judge"}
