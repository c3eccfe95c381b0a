"""What a start moves and on which machines, from one stored trial: what floors and `what-if` need beside its phases.

A fact that the trial does not tell is None.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from airflow_llm_provisioning.core.arm import Arm
from airflow_llm_provisioning.core.fields import dig
from airflow_llm_provisioning.core.image_arrival import pulled_figures
from airflow_llm_provisioning.core.result import TrialResult


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFacts:
    """One arm's start. `image_bytes`: compressed, as it is pulled; `weight_bytes`: the model's weight files."""

    arm: Arm
    image_bytes: int | None = None
    weight_bytes: int | None = None
    head_instance_type: str | None = None
    worker_instance_type: str | None = None


def start_facts(trial: TrialResult) -> StartFacts:
    """Return the facts of one trial."""
    model = trial.trial.served.model
    return StartFacts(
        arm=trial.arm,
        image_bytes=image_bytes(trial),
        weight_bytes=model.weight_bytes if model else None,
        head_instance_type=_text(dig(trial.environment, "head", "instance_type")),
        worker_instance_type=_text(dig(trial.environment, "worker", "instance_type")),
    )


def image_bytes(trial: TrialResult) -> int | None:
    """Return the compressed size of the largest image that was pulled, as the kubelet's event says it (the evidence of
    the verdict `cold_start` quotes it); where nothing was pulled, of the image that was prepared.
    """
    cold = (item for item in trial.verdicts if item.get("claim") == "cold_start")
    sizes = [size for item in cold for text in _texts(item.get("evidence")) if (size := pulled_figures(text)[1])]
    opened = trial.trial.opened
    return max(sizes) if sizes else (opened.prepared.size_bytes if opened else None)


def _texts(evidence: object) -> Iterable[str]:
    return [text for text in evidence if isinstance(text, str)] if isinstance(evidence, (list, tuple)) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
