"""A cloud's operation that failed for capacity says so; other failures stay what they are."""

import pytest

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.exceptions import CloudError, NoCapacityError
from airflow_llm_provisioning.preparation.operations import succeeded


def ended(error: str) -> dict[str, object]:
    operation = Operation("snapshot_image", {}).failed(error)
    return {"operations": [operation.as_dict()]}


def test_a_builder_without_capacity_is_no_other_failure() -> None:
    """The error has its own class, and names kind and zone."""
    with pytest.raises(NoCapacityError, match=r"No capacity \(stock-out in us-west-2a\): InsufficientInstanceCapacity"):
        succeeded(ended("InsufficientInstanceCapacity: not sufficient m5.large capacity in the zone (us-west-2a)"))
    with pytest.raises(CloudError, match="AccessDenied") as refused:
        succeeded(ended("AccessDenied: not authorized"))
    assert not isinstance(refused.value, NoCapacityError)
