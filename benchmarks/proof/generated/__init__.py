"""Generated deployments with known true instants, written as a real cluster writes them.

It shares no code with the analysis. `scenario` draws what is deployed, `instants` the true instants, `source_clocks`
the clocks and formats of the sources, `cluster` and `ray` what the API server stores and Ray answers, and `wire` what
reaches the recorder, and when. `impossible` changes a finished trace in ways that no cluster can. The formats follow
recordings of Kubernetes 1.34, KubeRay 1.7.0 and Ray 2.60, and, for KubeRay 1.1 and vLLM, their sources.
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
