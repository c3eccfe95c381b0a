"""Made-up deployments whose truth is known, told as a real cluster tells them. Shares no code with what reads them.

`scenario` draws what is deployed, `instants` when everything really happened, `pens` who writes it down by which clock,
`cluster` and `ray` what the API server stores and Ray answers, `wire` what of it reaches the recorder, and when;
`impossible` spoils a finished trace in ways no cluster can. The shapes follow recordings of Kubernetes 1.34, KubeRay
1.7.0 and Ray 2.60, and, for KubeRay 1.1 and vLLM, their sources.
"""

from proof.generated.deployment import Deployment, generate
from proof.generated.names import BASE, CLUSTER, IMAGE, NAME, NAMESPACE
from proof.generated.scenario import Distortion, Scenario, draw_distortion, draw_scenario

__all__ = [
    "BASE",
    "CLUSTER",
    "IMAGE",
    "NAME",
    "NAMESPACE",
    "Deployment",
    "Distortion",
    "Scenario",
    "draw_distortion",
    "draw_scenario",
    "generate",
]
