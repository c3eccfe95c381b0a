"""What the origin of this experiment published. It stands beside our figures for orientation; nothing is fitted to it.

Source: Elotl, "Reducing Deploy Time for LLM Serving on Cloud Kubernetes with Luna Smart Autoscaler", January 2025,
prose only: the seconds of its tables were never published as text. Its summary says 47 where the body says 46 for EKS
dynamic.
"""

from collections.abc import Mapping
from typing import Final

# Its bundle of all treatments, and the model that it served.
PUBLISHED_VARIANT: Final = "improved"
PUBLISHED_MODEL: Final = "microsoft/Phi-3-mini-4k-instruct"

# (cloud, set-up) -> reduction in per cent of the baseline.
PUBLISHED_REDUCTION_PCT: Final[Mapping[tuple[str, str], float]] = {
    ("eks", "static"): 26.0,
    ("eks", "dynamic"): 46.0,
    ("gke", "static"): 47.0,
    ("gke", "dynamic"): 48.0,
    ("aks", "static"): 47.0,
    ("aks", "dynamic"): 60.0,
}
