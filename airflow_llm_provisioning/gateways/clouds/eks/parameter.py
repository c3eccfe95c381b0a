"""The SSM parameter in which a snapshot's id is written, for nodes that others describe (Terraform, eksctl).

It is made only where a preparation asks for one. A parameter that is there and not ours is never overwritten.
"""

from typing import Any, Final

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.gateways.clouds.eks.aws import AWS_ERRORS, Aws, absent, error_code, from_pairs, pairs
from airflow_llm_provisioning.gateways.clouds.eks.tags import AWS_TAGS, later_expiry, tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import keep_until
from airflow_llm_provisioning.gateways.store.ledger import LedgerEntries

# The policy in docs/iam is bound to it.
PREFIX: Final = "/llm-provisioning/"


class SnapshotParameter:
    """Writes the parameter that an operation's request names, if it names one."""

    def __init__(self, aws: Aws, entries: LedgerEntries) -> None:
        self._aws, self._entries = aws, entries

    def problems(self, name: Any) -> list[str]:
        """Return why a parameter of this name cannot be written, in sentences."""
        if name is None:
            return []
        if not str(name).startswith(PREFIX):
            return [f"parameter {name!r} does not begin with {PREFIX}, which is where ours are."]
        tags = self._tags(str(name))
        return [f"parameter {name!r} exists and belongs to another owner: name another."] if _foreign(tags) else []

    def intend(self, operation: Operation) -> str | None:
        """Write the intent in the ledger; return the entry, None where no parameter is asked for."""
        name = operation.request.get("parameter")
        return name and self._entries.intend("parameter", str(name), tags_of(operation), keep_until(operation))

    def write(self, operation: Operation, snapshot_id: str) -> None:
        """Write the snapshot's id, over an earlier one of ours."""
        entry = self.intend(operation)
        if entry is None:
            return
        ssm, name = self._aws.client("ssm"), str(operation.request["parameter"])
        try:
            ssm.put_parameter(Name=name, Value=snapshot_id, Type="String", Tags=pairs(tags_of(operation)))
        except AWS_ERRORS as error:
            if error_code(error) != "ParameterAlreadyExists":
                raise
            # Tags and Overwrite exclude each other.
            ssm.put_parameter(Name=name, Value=snapshot_id, Type="String", Overwrite=True)
            later = later_expiry(self._tags(name) or {}, operation)
            if later:
                ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId=name, Tags=pairs(later))
        self._entries.created(entry, name)

    def forget(self, operation: Operation) -> None:
        """Close the ledger's entry of a parameter that was never written."""
        name = operation.request.get("parameter")
        if name and self._tags(str(name)) is None:
            self._entries.gone("parameter", name=str(name))

    def _tags(self, name: str) -> dict[str, str] | None:
        """Return a parameter's tags, None where there is no such parameter."""
        try:
            listed = self._aws.client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=name)
        except AWS_ERRORS as error:
            if absent(error):
                return None
            raise
        return from_pairs(listed.get("TagList"))


def _foreign(tags: dict[str, str] | None) -> bool:
    return tags is not None and not AWS_TAGS.is_ours(tags)
