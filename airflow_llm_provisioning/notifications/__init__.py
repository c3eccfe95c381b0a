"""Tells people about results: messages for the notifiers of other providers."""

from airflow_llm_provisioning.notifications.result import HTML, SLACK, SUBJECT, TEXT, ResultNotifier

__all__ = ["HTML", "SLACK", "SUBJECT", "TEXT", "ResultNotifier"]
