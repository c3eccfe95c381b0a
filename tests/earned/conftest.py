"""A results database of its own for every test: what another one prepared is in the clouds, not in its rows."""

import pytest


@pytest.fixture(autouse=True)
def _own_results(results_db: object) -> None:
    """Lead the results connection to a new file."""
