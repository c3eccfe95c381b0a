"""Which caches an engine used, from its log."""

from typing import Any

import pytest

from airflow_llm_provisioning.core.engine_caches import engine_finds, weights_found, weights_uncertain
from airflow_llm_provisioning.core.trace import TraceView
from airflow_llm_provisioning.core.weight_loading import load_rate

AT = "2026-05-04T12:00:00Z"
SILENT = "Starting to load model m...\nLoading weights took 9.1 seconds"
TOLD = "Starting to load model m...\nTime spent downloading weights for m: 40 seconds\nLoading weights took 9 seconds"
OLD = "Starting to load model m...\nLoading model weights took 7.1659 GB"
CLAIM = {"name": "v", "persistentVolumeClaim": {"claimName": "kept"}}


def view(
    log: str = "", weight_bytes: int = 7_642_182_880, *volumes: dict[str, Any], path: str = "", env: str = ""
) -> TraceView:
    """Return the view of a worker with volumes and the engine's log."""

    def line(resource: str, obj: Any, kind: str = "ADDED", **more: Any) -> dict[str, Any]:
        return {"received_at": AT, "type": kind, "resource": resource, "object": obj, **more}

    def owned(name: str, uid: str, owner: str) -> dict[str, Any]:
        return {"name": name, "uid": uid, "ownerReferences": [{"uid": owner}]}

    container = {"name": "ray-worker", "env": [{"name": env, "value": "x"}] if env else []}
    container |= {"volumeMounts": [{"name": volume["name"], "mountPath": path} for volume in volumes]}
    labels = {"ray.io/node-type": "worker", "ray.io/cluster": "c"}
    pod = {
        "metadata": {**owned("w", "w", "rc"), "labels": labels},
        "spec": {"containers": [container], "volumes": list(volumes)},
    }
    header = {"rayservice": {"name": "s", "uid": "rs"}, "trial": {"model": {"weight_bytes": weight_bytes}}}
    lines = [
        line("trace", header, "HEADER"),
        line("rayservices", {"metadata": {"name": "s", "uid": "rs"}}),
        line("rayclusters", {"metadata": owned("c", "rc", "rs")}),
        line("pods", pod),
    ]
    if log:
        read = line("ray-log-file", log, filename="worker-1.out")
        read.pop("type")
        lines.append(read)
    return TraceView(lines)


def test_weights_that_were_loaded_and_not_downloaded_were_there() -> None:
    """Seven gigabytes are not downloaded in the half second below which vLLM logs nothing."""
    told = weights_found(view(SILENT))
    assert told is not None
    assert "7.6 GB" in told
    assert engine_finds(view(SILENT)) == (("weights", "no", told),)


def test_weights_of_a_daemon_on_the_node_were_there() -> None:
    """An engine with `--load-format ipc_cache` names no download and no loading; its fall-back loads as any other."""
    mapped = "INFO [ipc_loader.py:166] Mapped 339 tensors from the weight cache daemon (zero_copy mode)"
    told = "The engine says in worker-1.out: Mapped 339 tensors from the weight cache daemon."
    assert engine_finds(view(mapped)) == (("weights", "no", told),)
    unusable = "WARNING Weight cache unusable (WeightCacheKey mismatch on fields: ['checkpoint']); falling back to disk"
    assert engine_finds(view(f"{unusable}\n{TOLD}")) == ()


@pytest.mark.parametrize(
    "line",
    [
        "Directly lookup the graph for shape None from the cache",
        "Directly load the compiled graph(s) for dynamic shape from the cache, took 4.012 s",
        "Directly load the compiled graph(s) for compile range (1, 8192) from the cache, took 0.717 s",
    ],
)
def test_graphs_of_an_earlier_start_are_found_in_every_wording(line: str) -> None:
    """Of vLLM 0.7, 0.10 and 0.12."""
    assert engine_finds(view(f"{TOLD}\n{line}")) == (("compile_cache", "no", f"Engine: {line}"),)


@pytest.mark.parametrize(
    ("log", "weight_bytes"), [(TOLD, 7_642_182_880), (SILENT, 250_000_000), (OLD, 7_642_182_880), ("", 7_642_182_880)]
)
def test_without_evidence_no_cache_is_reported(log: str, weight_bytes: int) -> None:
    """Downloaded weights, weights small enough for half a second, an engine without such lines, and no log prove
    nothing.
    """
    assert weights_found(view(log, weight_bytes)) is None
    assert all(value != "no" for _, value, _ in engine_finds(view(log, weight_bytes)))


@pytest.mark.parametrize(
    ("volumes", "path", "env"),
    [
        ((CLAIM,), "/home/ray/.cache/huggingface", ""),
        ((CLAIM,), "/home/ray/.cache", ""),
        (({"name": "v", "hostPath": {"path": "/mnt"}},), "/hf", ""),
        ((CLAIM,), "/data", "HF_HOME"),
    ],
)
def test_a_cache_on_a_lasting_volume_is_uncertain_with_an_old_engine(
    volumes: tuple[dict[str, Any], ...], path: str, env: str
) -> None:
    """VLLM 0.5.4 logs no downloads, so a cache is uncertain; an engine that logs them leaves no doubt."""
    assert weights_uncertain(view(OLD, 1, *volumes, path=path, env=env)) is not None
    assert weights_uncertain(view(TOLD, 1, *volumes, path=path, env=env)) is None
    assert weights_uncertain(view(SILENT, 1, *volumes, path=path, env=env)) is None


@pytest.mark.parametrize(
    ("volumes", "path"),
    [((), ""), (({"name": "v", "emptyDir": {}},), "/home/ray/.cache"), ((CLAIM,), "/var/log/ray")],
)
def test_other_volumes_are_no_cache(volumes: tuple[dict[str, Any], ...], path: str) -> None:
    """No volume, a volume that ends with its pod, and a volume for other data leave no doubt."""
    assert weights_uncertain(view(OLD, 1, *volumes, path=path)) is None


def test_an_old_engine_says_that_it_loaded_without_a_time() -> None:
    """VLLM 0.5.4 tells the memory of the weights: that is no rate, and no silence either."""
    assert load_rate(view(OLD)) == "The engine loaded 7.1659 GB of weights; its release logs no time."
    assert "GB/s" in str(load_rate(view(SILENT)))
    assert load_rate(view("Starting to load model m...")) is None
