"""Loggers of libraries that write a line per request, or per step of a migration, at the level INFO.

Airflow's root logger has that level, so that a task's log would hold hundreds of lines that are not about the trial:
every request with its headers (azure-core's HttpLoggingPolicy), every poll of the hub (httpx), where credentials were
found (botocore, azure-identity), and the migrations of the results store (alembic).
"""

import logging
from typing import Final

LIBRARIES: Final = (
    "alembic",
    "azure",
    "boto3",
    "botocore",
    "google.auth",
    "googleapiclient",
    "httpx",
    "huggingface_hub",
    "kubernetes_asyncio",
    "msal",
    "urllib3",
)


def keep_requests_out() -> None:
    """Let these libraries log warnings and errors only. A level that a user has set is kept."""
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
