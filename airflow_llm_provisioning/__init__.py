"""Airflow provider for experiments on how fast an LLM comes up on cloud Kubernetes."""

__version__ = "0.2.0.dev0"
