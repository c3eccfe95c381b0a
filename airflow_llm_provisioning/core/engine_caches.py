"""Which caches of an earlier start an engine used: compiled graphs and weights, from the engine's log lines."""

import re
from typing import Final, Literal

from airflow_llm_provisioning.core.compiled_graphs import graph_lines
from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.trace.objects import History, containers
from airflow_llm_provisioning.core.trace.view import TraceView
from airflow_llm_provisioning.core.weight_sources import not_from_the_hub

Find = tuple[Literal["compile_cache", "weights"], Literal["no", "unknown"], str]
"""What was found, whether it surely was there before (`no`: the start was not cold), and a sentence."""


def engine_finds(view: TraceView) -> tuple[Find, ...]:
    """Return what the engine found that an earlier start had left, or may have found: its log lines about cached
    compiled graphs (vLLM 0.10 to 0.33), and a sentence about cached weights.
    """
    found: list[Find] = [("compile_cache", "no", f"Engine: {line.text}") for line in graph_lines(view) if line.found]
    if weights := weights_found(view):
        found.append(("weights", "no", weights))
    if doubt := weights_uncertain(view):
        found.append(("weights", "unknown", doubt))
    return tuple(found)


def weights_found(view: TraceView) -> str | None:
    """Return a sentence if the engine found a hub model's weights on its disk, or None.

    vLLM's V1 engine prints the download time of the weights if it exceeds half a second. If it loaded weights without
    such a line, and they are too large for a download in half a second, they were on the disk. vLLM 0.5.4 never prints
    it. An engine that maps its weights from a daemon of the node (`--load-format ipc_cache`) says so; where the daemon
    is not ready it loads from the disk instead.
    """
    if told := next(((log, found) for log in view.logs if (found := _MAPPED.search(log.text))), None):
        return f"The engine says in {told[0].filename}: {told[1].group(0)}."
    weights = PlannedFacts.of(view.trial).weight_bytes or 0
    silent = [log for log in view.logs if _loaded_without_download(log.text)]
    if weights < _QUICKEST_DOWNLOAD_BYTES or not silent or not_from_the_hub(view):
        return None
    return f"The engine loaded {weights / 1e9:.1f} GB of weights and downloaded none ({silent[0].filename})."


def weights_uncertain(view: TraceView) -> str | None:
    """Return a sentence if cached weights cannot be excluded, or None.

    This is the case if the hub's cache is on a volume that outlives pods and the engine does not log its downloads
    (vLLM 0.5.4).
    """
    if any(_DOWNLOADED.search(log.text) or _LOADED.search(log.text) for log in view.logs) or not_from_the_hub(view):
        return None
    for pod in view.engine_pods:
        if (path := _lasting_cache(view, pod)) is not None:
            return f"The hub's cache may be on the volume at {path}, and this engine logs no download."
    return None


def _lasting_cache(view: TraceView, pod: History) -> str | None:
    """Return where a pod mounts a volume that outlives it and may hold the hub's cache, or None."""
    volumes = [mapping(volume) for volume in items(dig(pod.last, "spec", "volumes"))]
    lasting = {text(volume.get("name")) for volume in volumes if not _PASSING.intersection(volume)}
    own = bool(_CACHE_VARIABLES & view.env_of(pod).keys())
    for spec in containers(pod.last):
        for mount in map(mapping, items(spec.get("volumeMounts"))):
            path = text(mount.get("mountPath"))
            if mount.get("name") in lasting and (own or _CACHE_PATH.search(path)):
                return path
    return None


# With seconds. vLLM 0.5.4 writes `Loading model weights took N GB`, which is another line.
_LOADED = re.compile(r"Loading weights took [0-9.]+ seconds")
# vLLM 0.7 wrote `Time took to download weights for`.
_DOWNLOADED = re.compile(r"(?:Time (?:spent downloading|took to download) weights for|Weights downloaded in )")
# vllm, model_executor/model_loader/ipc_loader.py.
_MAPPED = re.compile(r"Mapped \d{1,9} tensors from the weight cache daemon")
# More than any node receives in half a second: 80 Gbit/s.
_QUICKEST_DOWNLOAD_BYTES: Final = 5e9
# Volumes that live as long as the pod, or that cannot hold cache files.
_PASSING: Final = frozenset({"emptyDir", "configMap", "secret", "projected", "downwardAPI", "serviceAccountToken"})
_CACHE_PATH = re.compile(r"\.cache(?:/|$)|hugging|/hf(?:/|$)", flags=re.IGNORECASE)
_CACHE_VARIABLES: Final = frozenset({"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})


def _loaded_without_download(log: str) -> bool:
    started = log.find("Starting to load model ")
    return started >= 0 and bool(_LOADED.search(log, started)) and not _DOWNLOADED.search(log)
