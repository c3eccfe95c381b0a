"""What Airflow learns about the package: a wrong word here breaks `import airflow` for everybody."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import jsonschema

from airflow_llm_provisioning import __version__
from airflow_llm_provisioning.get_provider_info import get_provider_info

ROOT = Path(__file__).resolve().parents[1]


def test_the_dict_is_valid_by_airflows_own_schema() -> None:
    """Airflow validates the dict at import, and raises from there."""
    import airflow

    schema = json.loads(Path(airflow.__file__).with_name("provider_info.schema.json").read_text(encoding="utf-8"))

    jsonschema.validate(get_provider_info(), schema)


def test_the_name_is_the_distributions() -> None:
    """Another name than the distribution's makes `import airflow` raise."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert (
        get_provider_info()["package-name"] == project["name"] == metadata.metadata("airflow-llm-provisioning")["Name"]
    )
    assert get_provider_info()["versions"] == [__version__]


def test_the_entry_point_is_this_function() -> None:
    """Airflow finds the dict by the distribution's entry point."""
    (found,) = metadata.distribution("airflow-llm-provisioning").entry_points.select(group="apache_airflow_provider")

    assert found.load() is get_provider_info


def test_every_module_and_class_named_exists() -> None:
    """A module or class that is not there shows only in a log, later."""
    for name in named_modules(get_provider_info()):
        importlib.import_module(name)
    for name in named_classes(get_provider_info()):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_every_operator_and_sensor_is_in_a_named_module() -> None:
    """What users can import, Airflow knows of."""
    from airflow_llm_provisioning import operators, sensors

    named = set(named_modules(get_provider_info()))
    public = [getattr(package, name) for package in (operators, sensors) for name in package.__all__]

    assert {cls.__module__ for cls in public} <= named


def test_airflow_lists_the_provider(tmp_path: Path) -> None:
    """`airflow providers list` shows it, in a new Airflow."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "providers", "list", "--output", "json"],
        env=os.environ | {"AIRFLOW_HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=True,
    )
    providers = json.loads(done.stdout[done.stdout.index("[") :])

    (ours,) = [row for row in providers if row["package_name"] == "airflow-llm-provisioning"]
    assert ours["version"] == __version__


def named_modules(info: dict[str, object]) -> Iterator[str]:
    """Yield the Python modules a provider's dict names."""
    for kind in ("operators", "sensors", "triggers"):
        for entry in info[kind]:  # type: ignore[attr-defined]
            yield from entry["python-modules"]


def named_classes(info: dict[str, object]) -> Iterator[str]:
    """Yield the class paths a provider's dict names."""
    yield from info.get("extra-links", [])  # type: ignore[misc]
    for entry in info.get("connection-types", []):  # type: ignore[attr-defined]
        yield entry["hook-class-name"]
