"""The distributed set-up as far as it can be proved without an engine: names, environment, what is open to whom."""

import json
import re
from pathlib import Path
from typing import Any

import composed
import distributed_processes
import jsonschema
import pytest
import yaml
from stack import airflow_settings

ROOT = Path(__file__).resolve().parents[1]
AIRFLOW = {"airflow-apiserver", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "airflow-worker"}


@pytest.fixture
def compose() -> dict[str, Any]:
    """Return the file as Compose reads it: merged."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture
def services(compose: dict[str, Any]) -> dict[str, Any]:
    """Return its services."""
    found: dict[str, Any] = compose["services"]
    return found


def test_every_part_of_a_distributed_airflow_is_there(services: dict[str, Any]) -> None:
    """CeleryExecutor needs all of these, and the experiment its simulator."""
    assert set(services) == AIRFLOW | {"airflow-init", "postgres", "redis", "simulator"}
    assert services["postgres"]["image"].startswith("postgres:16")
    assert services["redis"]["image"].startswith("redis:7")


def test_it_is_valid_by_the_specifications_schema(compose: dict[str, Any]) -> None:
    """An engine refuses a file with an unknown attribute or a wrong type."""
    schema = compose_schema()

    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.Draft7Validator(schema).validate(compose)


def test_a_wrong_file_is_not_valid(compose: dict[str, Any]) -> None:
    """The schema refuses an attribute that no engine knows."""
    schema = compose_schema()
    compose["services"]["redis"]["health_check"] = {}

    with pytest.raises(jsonschema.ValidationError, match="health_check"):
        jsonschema.Draft7Validator(schema).validate(compose)


def test_clouds_choose_the_targets_and_the_simulated_clouds(services: dict[str, Any]) -> None:
    """One setting for both: targets without their simulated cloud would fail one by one."""
    assert "--clouds=${CLOUDS:-eks,gke,aks}" in services["simulator"]["command"]
    assert services["airflow-worker"]["environment"]["LLM_PROVISIONING_CLOUDS"] == "${CLOUDS:-eks,gke,aks}"


def test_processes_have_the_settings_of_the_file(compose: dict[str, Any], tmp_path: Path) -> None:
    """`make stack` reads them from here: every setting is there, and none leads to a container."""
    ports = {"postgres": 1111, "redis": 2222, "api": 3333}
    found = composed.environment(tmp_path, ports)

    assert set(compose["x-airflow"]["environment"]) <= set(found)
    texts = " ".join(value for key, value in found.items() if key != "PATH")
    for of_container in ("@postgres", "redis://redis", "airflow-apiserver", "/opt/airflow", "/run/", ":8080", ":5432"):
        assert of_container not in texts
    assert found["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].endswith("@127.0.0.1:1111/airflow")
    assert json.loads(found["AIRFLOW_CONN_LLM_PROVISIONING_RESULTS"])["port"] == 1111
    user, password = composed.database_account()
    assert f"{user}:{password}@" in found["AIRFLOW__CELERY__RESULT_BACKEND"]


def test_processes_are_what_the_file_has_and_more_than_one_of_what_may_be_killed() -> None:
    """Two schedulers, triggerers and workers: each may die while the other one goes on."""
    kinds = [name.rpartition("-")[0] or name for name in distributed_processes.PROCESSES]

    assert {kinds.count(kind) for kind in ("scheduler", "triggerer", "worker")} == {2}
    commands = {name.removeprefix("airflow-").replace("apiserver", "api-server") for name in AIRFLOW}
    assert {name.removesuffix("-1").removesuffix("-2") for name in distributed_processes.PROCESSES} == commands


def test_every_name_leads_somewhere(compose: dict[str, Any], services: dict[str, Any]) -> None:
    """Services waited for exist and have the health check that is waited for; volumes and mounted files exist."""
    for service in services.values():
        for other, how in (service.get("depends_on") or {}).items():
            assert other in services
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other]
        for volume in service.get("volumes") or []:
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in compose["volumes"]


def test_only_this_machine_reaches_it(services: dict[str, Any]) -> None:
    """Anyone who reaches the pages is an administrator: so the one published port is on 127.0.0.1."""
    ports = [port for service in services.values() for port in service.get("ports") or []]

    assert ports == ["127.0.0.1:8080:8080"]


def test_tasks_and_triggers_reach_the_simulator_where_it_listens(services: dict[str, Any]) -> None:
    """The simulator listens on 127.0.0.1 alone; worker and triggerer share its network and read its connections."""
    for name in ("airflow-worker", "airflow-triggerer"):
        assert services[name]["network_mode"] == "service:simulator"
        assert services[name]["command"][:3] == ["python", "docker/with_simulator.py", connections_file(services)]
        assert "ports" not in services[name]
    assert f"--base-port={20000}" in services["simulator"]["command"]


def test_every_airflow_service_has_the_same_environment(services: dict[str, Any]) -> None:
    """Secrets, executor and database that differ between services show as refused tokens and lost tasks."""
    environments = [services[name]["environment"] for name in AIRFLOW | {"airflow-init"}]

    assert all(environment == environments[0] for environment in environments)
    assert environments[0]["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert not any("PASSWORD" in key or key.endswith(("_SECRET", "_KEY")) for key in environments[0])


def test_what_the_demo_sets_is_set_here_as_well(services: dict[str, Any]) -> None:
    """The same DAGs, as the demo runs them; what is left out here belongs to one machine, or to its speed."""
    here = services["airflow-worker"]["environment"]
    of_one_process = re.compile(
        r"AIRFLOW_HOME|PATH|PYTHONWARNINGS|NO_PROXY|MALLOC_ARENA_MAX|AIRFLOW__(API__(HOST|PORT|WORKERS)|CORE__PARALLELISM"
        r"|LOGGING__\w+_PORT|DAG_PROCESSOR__\w+|SCHEDULER__\w+|TRIGGERER__\w+)"
    )
    wanted = {key for key in airflow_settings(ROOT, 8080) if not of_one_process.fullmatch(key)}

    assert wanted - set(here) == set()
    for key in ("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG"):
        assert here[key] == airflow_settings(ROOT, 8080)[key]


def test_the_image_is_made_of_files_that_exist_and_reach_the_build() -> None:
    """A COPY of what is absent, or kept from the build by .dockerignore, ends the build."""
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"
    }
    copied = [
        source
        for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
        if line.startswith("COPY")
        for source in line.split()[1:-1]
    ]

    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert Path(source).parts[0].removeprefix("./") in allowed


def compose_schema() -> dict[str, Any]:
    """Return the specification's schema. The packaged one is older than the attribute `name` of 2022."""
    schema: dict[str, Any] = json.loads((ROOT / "tests" / "vendored" / "compose-spec.json").read_text(encoding="utf-8"))
    schema["properties"].setdefault("name", {"type": "string"})
    return schema


def connections_file(services: dict[str, Any]) -> str:
    """Return where the simulator writes how it is reached."""
    (option,) = [part for part in services["simulator"]["command"] if part.startswith("--connections=")]
    return str(option.removeprefix("--connections="))
