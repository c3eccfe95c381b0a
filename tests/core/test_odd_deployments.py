"""Deployments that are changed, deleted or never told of while they start: noted, and measured all the same."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from proof.generated import generate
from test_bad_traces import changed, kinds

from airflow_llm_provisioning.core.timing.analysis import analyse
from airflow_llm_provisioning.core.trace import end_line, mark_line


def test_a_manifest_without_gpu_is_noted() -> None:
    """A worker without a GPU request is measured, and flagged."""
    deployment = generate(4)

    def without_gpu(pod: dict[str, Any]) -> None:
        for container in pod["spec"]["containers"]:
            container["resources"] = {}

    analysis = analyse(changed(deployment, "pods", without_gpu))
    assert analysis.total_us is not None
    assert "no_gpu" in kinds(analysis)


def test_several_applications_are_noted() -> None:
    """With two applications both must be running, and a flag says so."""
    deployment = generate(5)

    def second(service: dict[str, Any]) -> None:
        service["spec"]["serveConfigV2"] += "- name: other\n  import_path: b:b\n"

    assert "applications" in kinds(analyse(changed(deployment, "rayservices", second)))


def test_all_applications_must_run_before_the_service_comes() -> None:
    """KubeRay waits for all applications, so the last one counts."""
    deployment = generate(5)
    late = deployment.truth["app_running"]

    def other_ran_early(body: dict[str, Any]) -> None:
        if body.get("applications"):
            body["applications"]["other"] = {"status": "RUNNING", "deployments": {}}

    lines = changed(deployment, "serve-rest", other_ran_early)
    milestone = analyse(lines).milestone("app_running")
    assert milestone is not None
    assert milestone.earliest_at <= late <= milestone.latest_at
    assert milestone.source == "serve-rest applications RUNNING"


def test_an_upgrade_in_mid_trial_is_noted() -> None:
    """A second RayCluster of the same RayService is an upgrade; the first that served is analysed."""
    deployment = generate(6)
    first = next(line for line in deployment.lines if line["resource"] == "rayclusters")
    second = copy.deepcopy(first)
    second["object"]["metadata"] |= {"uid": "rc-2", "name": "trial-a-later"}
    analysis = analyse([*deployment.lines, second])
    assert "upgrade" in kinds(analysis)
    assert analysis.total_us == analyse(deployment.lines).total_us


def test_an_upgrade_before_readiness_is_measured_by_the_cluster_that_served() -> None:
    """A changed manifest makes KubeRay start a second RayCluster. The first one, which never served, is not what the
    endpoint waited for.
    """
    deployment = generate(6)
    lines = copy.deepcopy(deployment.lines)
    early = copy.deepcopy(next(line for line in lines if line["resource"] == "rayclusters"))
    submitted = next(line for line in lines if line["resource"] == "rayservices")["object"]["metadata"]
    early["object"]["metadata"] |= {"uid": "rc-0", "name": "trial-a-first"}
    early["object"]["metadata"]["creationTimestamp"] = submitted["creationTimestamp"]
    pod = copy.deepcopy(next(line for line in lines if line["resource"] == "pods"))
    pod["object"]["metadata"] |= {"uid": "pod-0", "name": "trial-a-first-head"}
    pod["object"]["metadata"]["ownerReferences"] = [{"uid": "rc-0"}]
    pod["object"]["metadata"]["labels"] = {"ray.io/cluster": "trial-a-first", "ray.io/node-type": "head"}
    for line in lines:
        if line["resource"] == "rayservices" and "pendingServiceStatus" in line["object"].get("status", {}):
            break
    first_seen = copy.deepcopy(line)
    first_seen["object"]["status"]["pendingServiceStatus"] = {"rayClusterName": "trial-a-first"}
    first_seen["object"]["metadata"]["resourceVersion"] = "99"
    analysis = analyse([*lines, early, pod, first_seen])
    assert "upgrade" in kinds(analysis)
    assert [phase.name for phase in analysis.phases] == [phase.name for phase in analyse(lines).phases]


@pytest.mark.parametrize(("mark", "flagged"), [(None, True), ("delete_started", False)])
def test_deletion_by_another_actor_is_flagged(mark: str | None, flagged: bool) -> None:
    """A RayService that disappears before it is ready was deleted by something else, unless a mark says that the trial
    deleted it.
    """
    deployment = generate(7)
    lines = [line for line in deployment.lines if line["resource"] not in ("endpointslices", "services")]
    service = copy.deepcopy(next(line for line in lines if line["resource"] == "rayservices"))
    service["object"]["metadata"] |= {"deletionTimestamp": "2026-05-04T13:30:00Z", "resourceVersion": "9999"}
    lines.append({**service, "type": "MODIFIED", "received_at": "2026-05-04T13:30:00.100000Z"})
    if mark:
        lines.append({**service, "type": "MARK", "resource": "trace", "object": {"mark": mark}})
    assert ("deleted" in kinds(analyse(lines))) == flagged


@pytest.mark.parametrize(("mark_s", "outcome"), [(0.0, "unfinished"), (5.0, "failed"), (None, "failed")])
def test_a_delete_by_the_trial_is_no_failure_of_the_deployment(mark_s: float | None, outcome: str) -> None:
    """A teardown may delete while the recorder runs. The END line then reports a failure, and the mark before it says
    that the trial deleted. An earlier failure stays a failure.
    """
    gone_at = datetime(2026, 5, 4, 13, 30, tzinfo=UTC)
    lines = [line for line in generate(7).lines if line["resource"] not in ("endpointslices", "services")]
    lines = [line for line in lines if line.get("type") != "END"]
    service = copy.deepcopy(next(line for line in lines if line["resource"] == "rayservices"))
    service["object"]["metadata"] |= {"deletionTimestamp": "2026-05-04T13:30:00Z", "resourceVersion": "9999"}
    lines.append({**service, "type": "MODIFIED", "received_at": "2026-05-04T13:30:00.100000Z"})
    lines.append(end_line(gone_at + timedelta(seconds=1), "failed", "deleted by another actor"))
    if mark_s is not None:
        lines.append(mark_line(gone_at + timedelta(seconds=mark_s), "delete_started"))
    assert analyse(lines).outcome == outcome


def test_an_operator_that_never_writes_status_is_noted() -> None:
    """A missing status is flagged, and not read as a status of zeros."""
    deployment = generate(8)
    lines = [line for line in deployment.lines if line["resource"] in ("trace", "rayservices")]
    analysis = analyse([line for line in lines if "status" not in line["object"]])
    assert analysis.outcome == "unfinished"
    assert "operator_silent" in kinds(analysis)
