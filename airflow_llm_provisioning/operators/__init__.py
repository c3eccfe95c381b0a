"""Commands: prepare a target, run a trial, compare. Importing them loads no SDK, client, pandas or SQLAlchemy."""

from airflow_llm_provisioning.operators.changes import TellChanges
from airflow_llm_provisioning.operators.experiment import CompareVariants, JudgeRun, PlanTrials, Preflight
from airflow_llm_provisioning.operators.image_snapshot import SnapshotImage
from airflow_llm_provisioning.operators.image_streaming import EnableStreaming
from airflow_llm_provisioning.operators.image_warming import WarmImageCache
from airflow_llm_provisioning.operators.node_setup import SetUpNodes
from airflow_llm_provisioning.operators.object_preparation import PrepareObjects
from airflow_llm_provisioning.operators.ray_service import ApplyRayService, DeleteRayService
from airflow_llm_provisioning.operators.reaping import ListPlaces, ReapPlace
from airflow_llm_provisioning.operators.serving_image import BuildServingImage
from airflow_llm_provisioning.operators.trial import CloseTrial, OpenTrial

__all__ = [
    "ApplyRayService",
    "BuildServingImage",
    "CloseTrial",
    "CompareVariants",
    "DeleteRayService",
    "EnableStreaming",
    "JudgeRun",
    "ListPlaces",
    "OpenTrial",
    "PlanTrials",
    "Preflight",
    "PrepareObjects",
    "ReapPlace",
    "SetUpNodes",
    "SnapshotImage",
    "TellChanges",
    "WarmImageCache",
]
