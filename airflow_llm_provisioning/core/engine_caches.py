"""What an engine found ready that an earlier start had left: compiled graphs and weights, by its own lines."""

import re
from typing import Final

from airflow_llm_provisioning.core.fields import dig, items, mapping, text
from airflow_llm_provisioning.core.loading import not_from_the_hub
from airflow_llm_provisioning.core.planned import PlannedFacts
from airflow_llm_provisioning.core.trace.objects import containers
from airflow_llm_provisioning.core.trace.view import TraceView


def cache_hits(view: TraceView) -> tuple[str, ...]:
    """Return what the engine says it found ready: compiled graphs (vLLM 0.10 to 0.33), and weights."""
    lines = (line.strip() for log in view.logs for line in log.text.splitlines())
    compiled = dict.fromkeys(f"Engine: {line[:300]}" for line in lines if _CACHED_GRAPHS.search(line))
    weights = weights_found(view)
    return (*compiled, weights) if weights else tuple(compiled)


def weights_found(view: TraceView) -> str | None:
    """Return a sentence where the engine found a hub model's weights on its disk, or None.

    Since its V1 engine vLLM prints how long their download took, if that was more than half a second. Where it loaded
    some and says nothing of a download, those too large to come that fast were there. vLLM 0.5.4 never says it.
    """
    weights = PlannedFacts.of(view.trial).weight_bytes or 0
    silent = [log for log in view.logs if _loaded_without_download(log.text)]
    if weights < _QUICKEST_DOWNLOAD_BYTES or not silent or not_from_the_hub(view):
        return None
    return f"The engine loaded {weights / 1e9:.1f} GB of weights and downloaded none ({silent[0].filename})."


def weights_uncertain(view: TraceView) -> str | None:
    """Return a sentence where the hub's cache is on a volume that outlives pods and the engine is one that does not say
    whether it downloaded (vLLM 0.5.4), or None.
    """
    if any(_DOWNLOADED.search(log.text) or _LOADED.search(log.text) for log in view.logs) or not_from_the_hub(view):
        return None
    volumes = [mapping(volume) for volume in items(dig(view.worker.last if view.worker else None, "spec", "volumes"))]
    lasting = {text(volume.get("name")) for volume in volumes if not _PASSING.intersection(volume)}
    own = bool(_CACHE_VARIABLES & view.env_of(view.worker).keys())
    for spec in containers(view.worker.last if view.worker else None):
        for mount in map(mapping, items(spec.get("volumeMounts"))):
            path = text(mount.get("mountPath"))
            if mount.get("name") in lasting and (own or _CACHE_PATH.search(path)):
                return f"The hub's cache may be on the volume at {path}, and this engine does not say if it downloaded."
    return None


_CACHED_GRAPHS = re.compile(r"Directly load (?:the compiled graph|AOT compilation)")
# In seconds: 0.5.4 says `Loading model weights took N GB`, which is another line.
_LOADED = re.compile(r"Loading weights took [0-9.]+ seconds")
_DOWNLOADED = re.compile(r"(?:Time spent downloading weights for|Weights downloaded in )")
# More than any node gets in half a second: 80 Gbit/s.
_QUICKEST_DOWNLOAD_BYTES: Final = 5e9
# Volumes that come and go with the pod, or hold no files of a cache.
_PASSING: Final = frozenset({"emptyDir", "configMap", "secret", "projected", "downwardAPI", "serviceAccountToken"})
_CACHE_PATH = re.compile(r"\.cache(?:/|$)|hugging|/hf(?:/|$)", flags=re.IGNORECASE)
_CACHE_VARIABLES: Final = frozenset({"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})


def _loaded_without_download(log: str) -> bool:
    started = log.find("Starting to load model ")
    return started >= 0 and bool(_LOADED.search(log, started)) and not _DOWNLOADED.search(log)
