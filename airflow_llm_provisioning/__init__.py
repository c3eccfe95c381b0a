"""Airflow provider for experiments on how fast an LLM comes up on cloud Kubernetes."""

__version__ = "0.1.0"
