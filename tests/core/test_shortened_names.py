"""KubeRay before 1.4 cuts names from the front; owners, selectors and status fields say whose an object is."""

import json
from typing import Any

import pytest
from recording_changes import Lines, changed, instant, recorded

from airflow_llm_provisioning.core.readiness import Readiness
from airflow_llm_provisioning.core.timing.analysis import analyse
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.trace.ownership import is_serve_service

SHORT = "rayservice-no-ray-serve-replica"
LONG = "phi-3-mini-4k-instruct-benchmark-improved-eks"


def cut(name: str) -> str:
    """Return a name as KubeRay's CheckName makes it: its last 50 characters, and no punctuation or digit in front."""
    name = name[-50:]
    return name if name[0].isalpha() else f"r{name[1:]}"


def older(lines: Lines, rayservice: str) -> Lines:
    """Return the recording `static` with the names of KubeRay 1.1: `<name>-raycluster-xxxxx`, all others cut."""
    cluster = f"{rayservice}-raycluster-lw2j9"
    text = json.dumps(lines)
    for old, new in (
        ("llm-model-serve-lw2j9-gpu-group-worker-f5nz2", f"{cut(f'{cluster}-worker-gpu-group-')}f5nz2"),
        ("llm-model-serve-lw2j9-head-jntq8", f"{cut(f'{cluster}-head-')}jntq8"),
        ("llm-model-serve-lw2j9-head-svc", cut(f"{cluster}-head-svc")),
        ("llm-model-serve-lw2j9", cluster),
        ("llm-model-serve-head-svc", cut(f"{rayservice}-head-svc")),
        ("llm-model-serve-serve-svc", cut(f"{rayservice}-serve-svc")),
        ("llm-model-serve", rayservice),
    ):
        text = text.replace(old, new)
    found: Lines = json.loads(text)
    return found


@pytest.mark.parametrize("name", [SHORT, LONG])
def test_the_numbers_do_not_depend_on_the_names(name: str) -> None:
    """The same recording with shortened names has the same phases from the same sources."""
    plain, short = analyse(recorded("static")), analyse(older(recorded("static"), name))
    assert [phase.as_dict() for phase in short.phases] == [phase.as_dict() for phase in plain.phases]
    assert short.outcome == "ready"
    assert len(TraceView(older(recorded("static"), name)).polls()) == len(TraceView(recorded("static")).polls()) > 5


@pytest.mark.parametrize("name", [SHORT, LONG])
def test_the_wait_ends_with_the_same_line(name: str) -> None:
    """A RayService of 41 to 47 characters has a serve Service of another name; its endpoint is found by its owner."""
    turned = []
    for lines, called in ((recorded("static"), "llm-model-serve"), (older(recorded("static"), name), name)):
        judge = Readiness(called, "serving")
        turned.append(next(position for position, line in enumerate(lines) if judge.feed(line) != "pending"))
        assert judge.state == "endpoint_ready"
    assert turned[0] == turned[1]


def test_an_endpoint_that_overtakes_its_service_counts_when_the_service_is_known() -> None:
    """The name of a shortened Service is not expected, so its slice waits for the Service, and is not forgotten."""
    lines = older(recorded("static"), LONG)
    service = next(line for line in lines if line["resource"] == "services" and "serve-svc" in json.dumps(line))
    rest = [line for line in lines if line is not service and line["received_at"] < instant(lines, 60.0)]
    judge = Readiness(LONG, "serving")
    assert {judge.feed(line) for line in rest} == {"pending"}
    assert judge.feed({**service, "received_at": rest[-1]["received_at"]}) == "endpoint_ready"


def test_answers_of_another_cluster_are_not_read() -> None:
    """A cluster whose name begins alike has Services of its own; the owner of the Service tells them apart."""
    lines = recorded("static")
    own = len(TraceView(lines).polls())
    service = next(line for line in lines if line["resource"] == "services" and "lw2j9-head-svc" in json.dumps(line))
    other = json.loads(
        json.dumps(service)
        .replace("llm-model-serve-lw2j9-head-svc", "llm-model-serve-lw2j9-b-head-svc")
        .replace(service["object"]["metadata"]["uid"], "uid-of-another")
        .replace(service["object"]["metadata"]["ownerReferences"][0]["uid"], "uid-of-another-cluster")
    )

    def asked(line: dict[str, Any]) -> None:
        line["service"] = "llm-model-serve-lw2j9-b-head-svc"

    foreign = [line for line in changed(lines, "serve-rest", asked) if line["resource"] == "serve-rest"]
    assert len(TraceView([*lines, other, *foreign]).polls()) == own


def service(name: str, owner: str = "rs", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "ownerReferences": [{"uid": owner}]}, "spec": spec}


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (service("llm-serve-svc"), True),
        (service("cut-serve-svc"), True),
        (service("any", selector={"ray.io/serve": "true", "ray.io/cluster": "c"}), True),
        (service("llm-serve-svc", owner="another"), False),
        (service("cut-head-svc"), False),
        (service("cut-svc", selector={"ray.io/node-type": "head"}), False),
        (service("cut-svc", selector={"app": "x"}), False),
    ],
)
def test_the_serve_service_is_known_by_its_owner_and_its_selector(obj: dict[str, Any], expected: bool) -> None:
    """The RayService owns the head's Service too."""
    assert is_serve_service(obj, "rs", "llm-serve-svc") is expected
    assert is_serve_service(obj, None, "llm-serve-svc") is False
