"""`kubectl get` columns: ages, a pod's one-word status, and what custom kinds print."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.kube.podstatus import pod_cells
from llm_provisioning_simulator.kube.store import ObjectStore
from llm_provisioning_simulator.kube.tables import age, table

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0s"),
        (-60, "<invalid>"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (3600, "60m"),
        (4 * 3600 + 300, "4h5m"),
        (86400, "24h"),
        (86400 * 3 + 7200, "3d2h"),
        (86400 * 30, "30d"),
    ],
)
def test_ages_are_kubectls(seconds: int, shown: str) -> None:
    """The steps of HumanDuration."""
    assert age((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == shown


def test_no_stamp_is_unknown() -> None:
    """An age that is not known is said to be unknown, not 0."""
    assert age(None, NOW) == "<unknown>"


def pod(
    init: list[dict[str, Any]], main: list[dict[str, Any]], phase: str = "Pending", **metadata: Any
) -> dict[str, Any]:
    spec = {"initContainers": [{"name": "i"}] * len(init), "containers": [{"name": "c"}] * len(main)}
    status = {"phase": phase, "initContainerStatuses": init, "containerStatuses": main}
    return {"metadata": {"name": "p", **metadata}, "spec": spec, "status": status}


def waiting(reason: str) -> dict[str, Any]:
    return {"name": "c", "state": {"waiting": {"reason": reason}}}


def ended(code: int, **more: Any) -> dict[str, Any]:
    return {"name": "c", "state": {"terminated": {"exitCode": code, **more}}}


RUNNING = {"name": "c", "ready": True, "state": {"running": {}}}


@pytest.mark.parametrize(
    ("item", "status"),
    [
        (pod([], []), "Pending"),
        (pod([waiting("PodInitializing")], [waiting("PodInitializing")]), "Init:0/1"),
        (pod([waiting("ImagePullBackOff")], [waiting("PodInitializing")]), "Init:ImagePullBackOff"),
        (pod([ended(1, reason="Error")], [waiting("PodInitializing")]), "Init:Error"),
        (pod([ended(0)], [waiting("ContainerCreating")]), "ContainerCreating"),
        (pod([], [RUNNING], "Running"), "Running"),
        (pod([], [ended(137, reason="OOMKilled")], "Running"), "OOMKilled"),
        (pod([], [ended(2)], "Failed"), "ExitCode:2"),
        (pod([], [RUNNING], "Running", deletionTimestamp="2026-11-22T08:00:00Z"), "Terminating"),
    ],
)
def test_a_pods_status_in_one_word(item: dict[str, Any], status: str) -> None:
    """The word that kubectl prints for each stage of a pod."""
    assert pod_cells(item, "1s", str)[2] == status


def test_custom_kinds_print_their_definitions_columns() -> None:
    """Paths with escaped dots and with a condition's type are followed."""
    store = ObjectStore(SimClock.start(1.0))
    labels = {"node.kubernetes.io/instance-type": "g5.2xlarge"}
    claim = {
        "metadata": {"name": "gpu-1", "labels": labels},
        "status": {"nodeName": "n", "conditions": [_ready()]},
    }
    item = store.create("nodeclaims", claim, manager="karpenter")
    printed = table(store.resources["nodeclaims"], [item], store, version=1, include="None")
    names = [column["name"] for column in printed["columnDefinitions"]]
    cells = dict(zip(names, printed["rows"][0]["cells"], strict=True))
    assert cells == {
        "Name": "gpu-1",
        "Type": "g5.2xlarge",
        "Capacity": None,
        "Zone": None,
        "Node": "n",
        "Ready": "True",
        "Age": "0s",
    }
    assert printed["rows"][0]["object"] is None


def _ready() -> dict[str, str]:
    return {"type": "Ready", "status": "True"}
