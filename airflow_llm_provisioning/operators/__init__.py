"""Commands: prepare a target, run a trial, compare. Importing them loads no SDK, client, pandas or SQLAlchemy."""

from airflow_llm_provisioning.operators.experiment import CompareVariants, JudgeRun, PlanTrials, Preflight
from airflow_llm_provisioning.operators.preparation import (
    BuildServingImage,
    EnableStreaming,
    SetUpNodes,
    SnapshotImage,
    WarmImageCache,
)
from airflow_llm_provisioning.operators.ray_service import ApplyRayService, DeleteRayService
from airflow_llm_provisioning.operators.trial import CloseTrial, OpenTrial

__all__ = [
    "ApplyRayService",
    "BuildServingImage",
    "CloseTrial",
    "CompareVariants",
    "DeleteRayService",
    "EnableStreaming",
    "JudgeRun",
    "OpenTrial",
    "PlanTrials",
    "Preflight",
    "SetUpNodes",
    "SnapshotImage",
    "WarmImageCache",
]
