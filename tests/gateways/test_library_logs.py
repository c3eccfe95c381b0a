"""What libraries say of their own requests stays out of the logs of tasks and commands."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_llm_provisioning.gateways.library_logs import LIBRARIES, keep_requests_out

# A process of its own, whose root logger has the level that Airflow's has.
OPENED = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
from airflow_llm_provisioning.gateways.store.results import ResultsStore
ResultsStore.open(sys.argv[1]).close()
for name in ("azure.core.pipeline.policies.http_logging_policy", "httpx", "botocore.credentials"):
    logging.getLogger(name).info("a request of %s", name)
    logging.getLogger(name).warning("a warning of %s", name)
"""


def test_a_new_store_and_a_request_leave_no_line(tmp_path: Path) -> None:
    """Alembic's lines and those of the SDKs are gone; warnings are kept."""
    told = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-c", OPENED, f"sqlite:///{tmp_path}/r.db"], check=True, capture_output=True, text=True
    ).stdout
    assert "INFO" not in told
    assert told.count("a warning of") == 3


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_level_that_was_set_is_kept(name: str) -> None:
    """Who debugs a request wants its lines."""
    logger = logging.getLogger(name)
    before = logger.level
    try:
        logger.setLevel(logging.DEBUG)
        keep_requests_out()
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(before)
