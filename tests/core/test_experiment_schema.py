"""The JSON schema that editors use says the same as the loader, and is the one that is shipped."""

import json
from typing import Any

import jsonschema
import pytest
import yaml
from broken_experiments import REPLACED, UNKNOWN_KEYS, WRONG_TYPES
from experiment_changes import BASE, CHANGES, Change, mutated
from experiment_data import EXAMPLES, EXPERIMENTS, a_manifest, experiment_data
from hypothesis import HealthCheck, assume, given, settings
from pydantic import ValidationError

from airflow_llm_provisioning import cli
from airflow_llm_provisioning.core.experiment_file import read_experiment
from airflow_llm_provisioning.core.experiment_schema import ExperimentFile, json_schema, schema_text
from airflow_llm_provisioning.exceptions import ConfigurationError

SHIPPED = EXAMPLES / "experiment.schema.json"
FIRST_LINE = "# yaml-language-server: $schema="
VALIDATOR = jsonschema.Draft202012Validator(json_schema())

quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_the_shipped_schema_is_the_codes() -> None:
    """Editors complete the keys that this version reads."""
    told = f"run: llm-provisioning schema --out {SHIPPED.relative_to(EXAMPLES.parents[2])}"
    assert SHIPPED.read_text(encoding="utf-8") == schema_text(), told


def test_it_is_a_schema() -> None:
    """Of the draft that it names."""
    schema = json_schema()
    assert schema["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_example_is_valid_and_leads_editors_to_the_schema(name: str) -> None:
    """By a path beside it, which `init` copies with it."""
    path = EXAMPLES / name
    text = path.read_text(encoding="utf-8")
    VALIDATOR.validate(yaml.safe_load(text))
    first = text.splitlines()[0]
    assert first.startswith(FIRST_LINE)
    assert (path.parent / first.removeprefix(FIRST_LINE)).resolve() == SHIPPED


@pytest.mark.parametrize("data", [data for data, _ in (*UNKNOWN_KEYS, *REPLACED, *WRONG_TYPES)])
def test_what_the_loader_refuses_for_its_structure_the_schema_refuses(data: dict[str, Any]) -> None:
    """Every unknown key, old key and wrong value of the loader's own tests."""
    assert not VALIDATOR.is_valid(data)


@pytest.mark.parametrize(
    ("section", "valid"),
    [
        ({}, False),
        ({"profile": None}, False),
        ({"profile": "phi3-2025"}, True),
        ({"profile": "phi3-2025", "manifest": None}, True),
        ({"profile": "phi3-2025", "manifest": "a.yaml"}, False),
        ({"profile": "phi3-2024"}, False),
        ({"manifest": "a.yaml"}, True),
        ({"manifest": "a.yaml", "profile": None}, True),
        ({"manifest": a_manifest()}, True),
        ({"manifest": 5}, False),
        ({"manifest": ["a.yaml"]}, False),
    ],
)
def test_a_workload_has_exactly_one_source(section: dict[str, Any], valid: bool) -> None:
    """A null counts as absent, for the loader too."""
    data = experiment_data(workloads={"w": section})
    assert VALIDATOR.is_valid(data) is valid
    assert (loaded(data) is not None) is valid


def loaded(data: Any) -> Any:
    """Return the experiment, or None where it is refused."""
    try:
        return read_experiment(data, where="it.yaml", read_text=lambda path: json.dumps(a_manifest()))
    except ConfigurationError:
        return None


@quick
@given(CHANGES)
def test_what_is_read_is_valid(changes: list[Change]) -> None:
    """An editor never underlines what the loader reads."""
    data = mutated(changes)
    if loaded(data) is not None:
        VALIDATOR.validate(data)


def read_differently(value: Any) -> bool:
    """Whether a value holds what Python's `jsonschema` and the loader read differently; manifests are free."""
    if isinstance(value, dict):
        return any(key.endswith("\n") or (key != "manifest" and read_differently(item)) for key, item in value.items())
    if isinstance(value, list):
        return any(read_differently(item) for item in value)
    return value.is_integer() if isinstance(value, float) else isinstance(value, str) and value.endswith("\n")


@quick
@given(CHANGES)
def test_what_the_models_refuse_is_invalid(changes: list[Change]) -> None:
    """Except 2.0 for 2, which JSON schema calls an integer, and a line break at the end, which Python's `$` allows."""
    data = mutated(changes)
    assume(not read_differently(data))
    try:
        ExperimentFile.model_validate(data)
    except ValidationError:
        assert not VALIDATOR.is_valid(data)


def test_the_unchanged_experiment_is_read_and_valid() -> None:
    """So the properties above are not empty."""
    assert loaded(BASE) is not None
    assert VALIDATOR.is_valid(BASE)


def test_the_command_prints_it_or_writes_it(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`llm-provisioning schema [--out FILE]`; a file that cannot be written is one sentence and exit code 2."""
    assert cli.main(["schema"]) == 0
    assert capsys.readouterr().out == schema_text()
    out = tmp_path / "schema.json"
    assert cli.main(["schema", "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == schema_text()
    assert cli.main(["schema", "--out", str(tmp_path / "nowhere" / "x.json")]) == 2
    told = capsys.readouterr().err
    assert "could not be written" in told
    assert "Traceback" not in told
