"""Fixtures for every test: where the recordings are, and an Airflow that is nobody's."""

import os
import tempfile
from pathlib import Path

import pytest

# Before anything imports airflow: its settings are read at import.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="llm-provisioning-airflow-"))
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Return the folder of recordings and CRDs, or skip: LLM_PROVISIONING_SHARED, else `shared` beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("LLM_PROVISIONING_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no recordings: {folder} is absent; point LLM_PROVISIONING_SHARED at the folder that holds them")
    return folder
