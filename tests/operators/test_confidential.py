"""What Airflow stores of a manifest and a recipe: redacted in the DAG and in a task's rendered fields, never a file."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG, task
from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields
from airflow.serialization.serialized_objects import DagSerialization

from airflow_llm_provisioning.operators import ApplyRayService, BuildServingImage, PrepareObjects
from airflow_llm_provisioning.operators.confidential import given

CANARY = "made-up-9"
CHAT = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"


def manifest() -> dict[str, Any]:
    config = {
        "applications": [
            {
                "import_path": "m:a",
                "args": {"engine_kwargs": {"api_key": CANARY}, "chat_template": CHAT},
                "runtime_env": {"env_vars": {"HF": CANARY}},
            }
        ]
    }
    container = {
        "name": "ray-head",
        "image": "r",
        "env": [{"name": "HF_TOKEN", "value": CANARY}],
        "args": ["--api-key", CANARY, f"https://u:{CANARY}@x.example"],
    }
    spec = {"template": {"spec": {"containers": [container]}}, "rayStartParams": {"redis-password": CANARY}}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": "llm-{{ params.suffix }}", "annotations": {"chat": CHAT}},
        "spec": {"serveConfigV2": yaml.safe_dump(config), "rayClusterConfig": {"headGroupSpec": spec}},
    }


def recipe() -> dict[str, Any]:
    return {"base": "r:1", "env": {"HF": CANARY}, "pip": [f"x @ https://u:{CANARY}@x.example/x.whl"]}


def render(operator: Any) -> dict[str, Any]:
    """Render as a worker does, and return what it sends to be stored."""
    operator.resolve_template_files()
    operator.render_template_fields({"params": {"suffix": "x"}, "run_id": "r"})
    return _serialize_rendered_fields(operator)


FORMS = {
    "dict": manifest,
    "YAML": lambda: yaml.safe_dump(manifest()),
    "JSON": lambda: json.dumps(manifest()),
    "with another document": lambda: "kind: Secret\nstringData:\n  a: made-up-9\n---\n" + yaml.safe_dump(manifest()),
    "with blocks outside of texts": lambda: "{% if params.x %}\na: 1\n{% endif %}\n" + yaml.safe_dump(manifest()),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_manifest_is_stored_without_secrets(form: str) -> None:
    """In the serialised DAG, and in what a task rendered; the task itself gets all of it."""
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        operator = ApplyRayService(task_id="a", manifest=FORMS[form]())
    dag.resolve_template_files()
    assert CANARY not in json.dumps(DagSerialization.to_dict(dag))
    shown = json.dumps(render(operator))
    assert CANARY not in shown
    assert "Confidential" not in shown
    kept = given(operator.manifest)
    whole = kept if isinstance(kept, str) else json.dumps(kept)
    assert whole.count(CANARY) >= 6


@pytest.mark.parametrize("form", ["dict", "YAML", "JSON", "with another document"])
def test_only_what_airflow_knows_is_rendered(form: str) -> None:
    """A parameter is rendered, and a chat template stays to the letter, in annotations and in Serve's configuration."""
    with DAG("d", schedule=None):
        operator = ApplyRayService(task_id="a", manifest=FORMS[form]())
    render(operator)
    kept = given(operator.manifest)
    made = list(yaml.safe_load_all(kept))[-1] if isinstance(kept, str) else kept
    assert made["metadata"]["name"] == "llm-x"
    assert made["metadata"]["annotations"]["chat"] == CHAT
    assert yaml.safe_load(made["spec"]["serveConfigV2"])["applications"][0]["args"]["chat_template"] == CHAT


def test_of_a_file_only_the_path_is_stored(tmp_path: Path) -> None:
    """Its text is read when the task runs, rendered with the same care, and in no stored field."""
    (tmp_path / "service.yaml").write_text(yaml.safe_dump(manifest()))
    with DAG("d", schedule=None, template_searchpath=str(tmp_path)) as dag:
        operator = ApplyRayService(task_id="a", manifest="service.yaml")
    dag.resolve_template_files()
    assert '"service.yaml"' in json.dumps(DagSerialization.to_dict(dag))
    assert render(operator)["manifest"] == "service.yaml"
    made = yaml.safe_load(given(operator.manifest))
    assert made["metadata"]["name"] == "llm-x"
    assert made["metadata"]["annotations"]["chat"] == CHAT


def test_a_marked_text_is_rendered_as_its_author_wants() -> None:
    """`raw` was the only way to keep braces before, and still works."""
    with DAG("d", schedule=None):
        operator = ApplyRayService(task_id="a", manifest={"a": "{% raw %}{{ x }}{% endraw %}", "b": "{{ 'y' }}"})
    render(operator)
    assert given(operator.manifest) == {"a": "{{ x }}", "b": "{{ 'y' }}"}


def test_a_recipe_is_stored_without_secrets() -> None:
    """The values that an image gets are rendered and not shown."""
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        operator = BuildServingImage(
            task_id="b", cloud={"cloud": "eks"}, recipe=recipe() | {"base": "r:{{ params.suffix }}"}
        )
    assert CANARY not in json.dumps(DagSerialization.to_dict(dag))
    assert CANARY not in json.dumps(render(operator))
    request = operator.request()
    assert request["recipe"]["env"] == {"HF": CANARY}
    assert request["recipe"]["base"] == "r:x"


def test_prepared_objects_are_stored_without_secrets() -> None:
    """The variables of a Job, and Serve's configuration as JSON in its arguments; a chat template there stays."""
    served = manifest()
    config = json.dumps(yaml.safe_load(served["spec"]["serveConfigV2"]))
    (container,) = served["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"]
    pod = {"containers": [{**container, "args": [config, "{{ params.suffix }}"]}]}
    objects = [{"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}}]
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        operator = PrepareObjects(task_id="p", target={}, treatment="kept_warm", objects=objects)
    assert CANARY not in json.dumps(DagSerialization.to_dict(dag))
    assert CANARY not in json.dumps(render(operator))
    (kept,) = given(operator.objects)
    assert kept["spec"]["template"]["spec"]["containers"][0]["args"] == [config, "x"]


def test_an_upstream_tasks_output_is_a_dependency_and_is_hidden_once_known() -> None:
    """Given directly, and inside a dict."""

    @task
    def make() -> dict[str, Any]:
        return manifest()

    with DAG("d", schedule=None):
        made = make()
        direct = ApplyRayService(task_id="a", manifest=made)
        inside = ApplyRayService(task_id="b", manifest={"spec": made})
    assert direct.upstream_task_ids == inside.upstream_task_ids == {"make"}


def test_a_mapped_task_hides_it_too() -> None:
    """A mapped task is rendered by another way of Airflow's."""
    with DAG("d", schedule=None):
        operator = ApplyRayService(task_id="a", manifest=manifest())
    operator._do_render_template_fields(
        operator, operator.template_fields, {"params": {"suffix": "x"}}, operator.get_template_env(), set()
    )
    assert CANARY not in json.dumps(_serialize_rendered_fields(operator))
    assert given(operator.manifest)["metadata"]["name"] == "llm-x"
