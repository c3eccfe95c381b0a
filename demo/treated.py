"""An experiment file with one more arm for each treatment, made of the shipped one: `make demo TREATMENTS=all`.

Each arm has a target of its own, because a cluster's nodes are prepared for one set of treatments. A treatment that the
shipped workload cannot have runs with the current one, which then has a baseline too.
"""

import json
import urllib.request
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml
from stack import EXPERIMENT

from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import impossible, known_treatments, treated_nodes
from airflow_llm_provisioning.core.treatments.ray_start_trim import SWITCH, RayStartTrim
from airflow_llm_provisioning.core.workload import Workload, builtin_workload
from airflow_llm_provisioning.dag_factory import load_experiment

ALL: Final = "all"
CURRENT: Final = "phi3-current"
# What the shipped variants have alone already.
SHIPPED: Final = frozenset({"fast_download"})
OPERATOR: Final = "/apis/apps/v1/namespaces/kuberay-operator/deployments/kuberay-operator"
_SCHEMES: Final = {"eks": "s3", "gke": "gs", "aks": "az"}
Document = dict[str, Any]


def write_treated(path: Path, clouds: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    """Write the experiment; yield what is not in it, with its reason.

    Args:
        path: Where it is written.
        clouds: Of the simulated ones.
        wanted: Names, `name@cloud` for the arm of one cloud, or `all`.

    Raises:
        ValueError: A name that no installed treatment has.
    """
    names = _by_cloud(wanted, clouds)
    document: Document = yaml.safe_load(EXPERIMENT.read_text(encoding="utf-8"))
    document["targets"] = [target for target in document["targets"] if target["nodes"]["cloud"] in clouds]
    if any(item.strip().partition("@")[0] == ALL for item in wanted):
        document["replicates"] = 1
    document["variants"] = {**_shipped_variants(), **document.get("variants", {})}
    for cloud in clouds:
        yield from _add(document, cloud, names.get(cloud, frozenset()))
    for cloud in sorted(names.keys() - set(clouds)):
        yield f"No arm for {', '.join(sorted(names[cloud]))} on {cloud}, which is not among the clouds of this run."
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def set_operators(experiment: Path, connections: Mapping[str, str]) -> Iterator[str]:
    """Set the operator's switch on the clusters of `ray_start_trim`, as their owner does with Helm; yield what was
    done.

    Args:
        experiment: The experiment's file.
        connections: Airflow's environment variables for the simulated clusters.
    """
    written = load_experiment(experiment)
    for target in written.targets:
        if any(RayStartTrim.name in written.variants.get(variant, ()) for variant in target.variants):
            _switch_off_injection(json.loads(connections[f"AIRFLOW_CONN_{target.conn_id.upper()}"]))
            yield f"{target.name}: {SWITCH}=false is set on the KubeRay operator."


def _switch_off_injection(connection: Mapping[str, Any]) -> None:
    config = yaml.safe_load(connection["extra"]["kube_config"])
    address = f"{config['clusters'][0]['cluster']['server']}{OPERATOR}"
    headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=30) as reply:  # noqa: S310
        deployment = json.load(reply)
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [*container.get("env", ()), {"name": SWITCH, "value": "false"}]
    body = json.dumps(deployment).encode()
    changed = urllib.request.Request(address, method="PUT", data=body, headers=headers)  # noqa: S310
    urllib.request.urlopen(changed, timeout=30).close()  # noqa: S310


def _by_cloud(wanted: Sequence[str], clouds: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return the names that each cloud gets an arm for."""
    known = known_treatments()
    found: dict[str, frozenset[str]] = {}
    for item in filter(None, map(str.strip, wanted)):
        name, _, cloud = item.partition("@")
        if name != ALL and name not in known:
            raise ValueError(f"{name!r} is no installed treatment. There are: {', '.join(sorted(known))}; or `{ALL}`.")
        for where in [cloud] if cloud else clouds:
            found[where] = found.get(where, frozenset()) | (frozenset(known) - SHIPPED if name == ALL else {name})
    return found


def _shipped_variants() -> dict[str, list[str]]:
    return {name: list(names) for name, names in load_experiment(EXPERIMENT).variants.items()}


def _add(document: Document, cloud: str, wanted: Container[str]) -> Iterator[str]:
    shipped = load_experiment(EXPERIMENT)
    plain = next(target for target in document["targets"] if target["name"] == f"{cloud}-plain")
    where = shipped.target(f"{cloud}-plain")
    for name, item in known_treatments().items():
        if name in SHIPPED or name not in wanted:
            continue
        if item.clouds and cloud not in item.clouds:
            continue
        workload, why = _workload(name, where, shipped.workloads[0])
        if workload is None:
            yield f"{cloud}: no arm for {name}: {why}"
            continue
        document["variants"].setdefault(name, [name])
        document["targets"].append(_target(plain, name, workload))
        if workload == CURRENT:
            document["workloads"].setdefault(CURRENT, {"profile": CURRENT})
    first = shipped.workloads[0].name
    for target in document["targets"]:
        target.setdefault("workloads", [first] if target is not plain else list(document["workloads"]))


def _workload(name: str, where: Target, first: Workload) -> tuple[str | None, str]:
    """Return with which workload a treatment is possible, else why it is not."""
    told = ""
    item = known_treatments()[name]
    options = {**where.options, "treatments": _told_of(where.cloud, where.region or "")}
    target = replace(where.treated(treated_nodes(where.nodes, [item])), options=options)
    for workload in (first, builtin_workload(CURRENT, CURRENT)):
        sentences = impossible([item], target, workload)
        if not sentences:
            return workload.name, ""
        told = " ".join(sentences)
    return None, told


def _target(plain: Mapping[str, Any], treatment: str, workload: str) -> Document:
    """Return a target like another one, with a cluster of its own."""
    old = str(plain["name"])
    name = f"{old.partition('-')[0]}-{treatment.replace('_', '-')}"
    text = yaml.safe_dump(plain).replace(old, name).replace(old.replace("-", "_"), name.replace("-", "_"))
    made: Document = yaml.safe_load(text)
    options = {**(made.get("options") or {}), "treatments": _told_of(made["nodes"]["cloud"], made["region"])}
    return {**made, "variants": [treatment], "workloads": [workload], "options": options}


def _told_of(cloud: str, region: str) -> Document:
    """Return what a target says of its treatments: the bucket, which the simulator fills as its owner would."""
    source = f"{_SCHEMES[cloud]}://simulated-weights/phi-3-mini"
    account = {"account": "simulatedweights"} if cloud == "aks" else {}
    return {"weights_stream": {"source": source, "region": region, **account}}
