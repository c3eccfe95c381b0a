"""Known causes in the sentences of kubelets, registries, schedulers, API servers and engines: what to do about each.

Each entry is a pattern and an advice; the first one that matches counts. The same words mean different things in
different places: `403 Forbidden` of a registry concerns the nodes, of the model hub the token, of the API server a
policy. So an advice belongs to a place. A sentence that matches none is still told, and only the advice is missing.
"""

import re
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

from airflow_llm_provisioning.core.blockers.causes import admission, engines, images, kubelets, nodes

Place = Literal["image", "container", "node", "admission", "engine"]
"""Who says it: a registry or the container runtime about an image; a kubelet about a pod or a container; scheduler,
autoscaler, cloud and provisioner about a pod without a node; the API server about an object that KubeRay creates; Ray
Serve or the engine.
"""

_ADVICE: Final = MappingProxyType(
    {
        place: tuple((re.compile(pattern, re.IGNORECASE | re.DOTALL), advice) for pattern, advice in entries)
        for place, entries in (
            ("image", images.CAUSES),
            # A container's last words are often those of the engine in it.
            ("container", (*kubelets.CAUSES, *engines.CAUSES)),
            ("node", nodes.CAUSES),
            ("admission", admission.CAUSES),
            ("engine", (*engines.CAUSES, *kubelets.CAUSES)),
        )
    }
)


# A wait judges every second, and mostly the same sentences.
@lru_cache(maxsize=512)
def advice_for(sentence: str, place: Place) -> str:
    """Return what to do about a sentence of a place; empty where that is not known."""
    return next((advice for pattern, advice in _ADVICE[place] if pattern.search(sentence)), "")
