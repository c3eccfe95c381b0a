"""A worker that prepares a cloud and does not live to see the end: a program of its own, killed from outside.

It does what a task does: reads the Airflow connection, starts operations with their intent in the ledger, waits for
them as the trigger does. It reads one line of JSON from its input:
{"cloud": reference, "finish": [[verb, request], ...], "begin": [[verb, request], ...]}.
What is to be finished is finished one after the other; a later request takes image, digest and size from the build
before. Then it says `finished`, waits for another line, writes the operations it begins as one line of JSON, as they
are first written to Airflow's database, and looks at them until it is killed.
"""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.preparation.operations import start_operation
from airflow_llm_provisioning.triggers.base import first_event
from airflow_llm_provisioning.triggers.cloud_operation import CloudOperationWait

STORE = "llm_provisioning_results"
OF_A_BUILD = ("image", "digest", "size_bytes")


def main() -> None:
    """Finish, begin, wait to be killed."""
    asked = json.loads(sys.stdin.readline())
    cloud: dict[str, Any] = asked["cloud"]
    built: dict[str, Any] = {}
    for verb, request in asked["finish"]:
        (ended,) = waited_for(cloud, [start_operation(cloud, verb, {**built, **request}, STORE)])
        if ended.result is None:
            raise SystemExit(f"{verb}: {ended.error}")
        built |= {key: ended.result[key] for key in OF_A_BUILD if key in ended.result}
    say("finished")
    sys.stdin.readline()
    begun = [start_operation(cloud, verb, {**built, **request}, STORE) for verb, request in asked["begin"]]
    say(json.dumps([operation.as_dict() for operation in begun]))
    waited_for(cloud, begun)


def waited_for(cloud: Mapping[str, Any], operations: Sequence[Operation]) -> list[Operation]:
    """Wait for operations as the trigger does, looking as often as it may."""
    wait = CloudOperationWait(
        cloud=dict(cloud), operations=[item.as_dict() for item in operations], results_conn_id=STORE, poll_s=0.1
    )
    event = asyncio.run(first_event(wait, timedelta(minutes=5)))
    return [Operation.from_dict(item) for item in event["operations"]]


def say(line: str) -> None:
    """Write a line that is read at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
