"""How what an operation makes on AWS is named and tagged: by content, so that the next operation finds it."""

from datetime import timedelta
from typing import Any, Final

from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.tags import TagScheme, preparation_tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import keep_until, started_at

NAME_PREFIX: Final = "llm-provisioning-"
AWS_TAGS: Final = TagScheme()


def by_content(operation: Operation, content: str, **progress: Any) -> Operation:
    """Return the operation with its content, and with a client token that a repeated run makes again."""
    token = fingerprint({"content": content, "at": operation.progress["started_at"]}, 32)
    return operation.at("starting", content=content, token=token, **progress)


def name_of(operation: Operation) -> str:
    """Return the name of what an operation makes."""
    return f"{NAME_PREFIX}{operation.progress['content']}"


def tags_of(operation: Operation, lifetime: timedelta | None = None) -> dict[str, str]:
    """Return the tags of what an operation makes; with a `lifetime`, it is to go so long after the start."""
    until = None if lifetime is None else started_at(operation) + lifetime
    return {"Name": name_of(operation), **preparation_tags_of(operation, operation.progress["content"], until)}


def later_expiry(tags: dict[str, str], operation: Operation) -> dict[str, str]:
    """Return the expiry tag to write so that a thing is kept as long as this operation wants; {} where it is."""
    return AWS_TAGS.later_expiry(tags, keep_until(operation))
