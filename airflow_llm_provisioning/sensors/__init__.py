"""Sensors: wait for a RayService's serve endpoint."""

from airflow_llm_provisioning.sensors.serve_endpoint import WaitServeEndpoint

__all__ = ["WaitServeEndpoint"]
