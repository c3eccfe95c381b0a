"""A cloud as another package would bring it: a folder is the account, a JSON file is each object in it.

It is registered by an entry point alone (see conftest.py), and nothing of the provider knows it. Its one long operation
takes two minutes of the cluster's time.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_llm_provisioning.core.names import fingerprint
from airflow_llm_provisioning.core.operation import Operation
from airflow_llm_provisioning.core.workload import ImageRecipe
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.base import ClusterAccess, Evidence, Owned
from airflow_llm_provisioning.gateways.clouds.descriptor import CloudDescriptor, ConnectionReader
from airflow_llm_provisioning.gateways.clouds.nodes import ExistingNodes
from airflow_llm_provisioning.gateways.clouds.operation_driver import OperationDriver
from airflow_llm_provisioning.gateways.clouds.tags import TagScheme, preparation_tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import (
    Look,
    Outcome,
    Step,
    Verb,
    done,
    finished,
    keep_until,
    not_yet,
)
from airflow_llm_provisioning.gateways.store.ledger import Ledger, LedgerEntries

CLOUD = CloudDescriptor(name="toy", title="Toy", opener="toy_cloud:open_toy", nodes=ExistingNodes())
KINDS = ("build", "image")
BUILD_S = 120.0


def open_toy(
    reference: Mapping[str, Any], *, connections: ConnectionReader, ledger: Ledger, clock: Callable[[], datetime]
) -> "ToyCloud":
    extra = connections.typed(str(reference["conn_id"]), "generic", "toy_cloud.py").extra_dejson
    return ToyCloud(Path(extra["folder"]), ledger, clock)


class BuildImage(Verb):
    name = "build_image"

    def __init__(self, folder: Path, entries: LedgerEntries, clock: Callable[[], datetime]) -> None:
        self._folder, self._entries, self._clock = folder, entries, clock

    def begin(self, operation: Operation) -> Look:
        recipe = ImageRecipe.from_dict(operation.request.get("recipe") or {})
        image = {"image": f"toy/{operation.request['repository']}:{recipe.tag()}", "content": recipe.content}
        if self._file("image", recipe.content).exists():
            return finished(**image, reused=True)
        for kind in KINDS:
            self._entries.intend(kind, recipe.content, self._tags(operation, recipe.content), keep_until(operation))
        return done(**image, reused=False)

    def steps(self, operation: Operation) -> Sequence[Step]:
        return (Step("building", self._build, limit_s=3600),)

    def clean_up(self, operation: Operation) -> Sequence[str]:
        self._file("build", operation.progress["content"]).unlink(missing_ok=True)
        return ()

    def outcome(self, operation: Operation, seconds: float) -> Outcome:
        made = {"image": operation.progress["image"], "size_bytes": 2 * 10**9, "log_url": None}
        made["digest"] = "sha256:" + fingerprint({"of": made["image"]}, 64)
        return Outcome(made, bool(operation.progress["reused"]), None, "toys have no price")

    def _build(self, operation: Operation) -> Look:
        content, now = operation.progress["content"], self._clock()
        build, image = self._file("build", content), self._file("image", content)
        if image.exists():
            return done()
        if not build.exists():
            ends_at = (now + timedelta(seconds=BUILD_S)).isoformat()
            build.write_text(json.dumps({"tags": self._tags(operation, content), "ends_at": ends_at}))
            with (self._folder / "builds.log").open("a") as log:
                log.write(f"{content}\n")
            return not_yet("begun")
        if now < datetime.fromisoformat(json.loads(build.read_text())["ends_at"]):
            return not_yet("under way")
        build.rename(image)
        self._entries.gone("build", name=content)
        return done()

    def _file(self, kind: str, name: str) -> Path:
        return self._folder / kind / f"{name}.json"

    def _tags(self, operation: Operation, content: str) -> dict[str, str]:
        return preparation_tags_of(operation, content)


class ToyCloud:
    name = "toy"

    def __init__(self, folder: Path, ledger: Ledger, clock: Callable[[], datetime]) -> None:
        self._folder, self.place = folder, f"cloud:toy{folder}"
        self._entries = LedgerEntries(ledger, self.place)
        self._driver = OperationDriver("Toy", {"build_image": BuildImage(folder, self._entries, clock)}, clock)

    def verbs(self) -> Sequence[str]:
        return tuple(self._driver.verbs)

    def start(self, verb: str, request: Mapping[str, Any]) -> Operation:
        return self._driver.start(verb, request)

    def poll(self, operation: Operation) -> Operation:
        return self._driver.poll(operation)

    def cluster_access(self, cluster: str) -> ClusterAccess:
        raise CloudError(f"There is no cluster {cluster!r} in {self._folder}.")

    def verify(self, claims: Sequence[str], facts: Mapping[str, Any]) -> list[Evidence]:
        return [Evidence(claim, None, "A toy cannot say this.", "toy") for claim in claims]

    def list_owned(self) -> list[Owned]:
        if not self._folder.is_dir():
            raise CloudError(f"The toy account {self._folder} cannot be listed: there is no such folder.")
        found = [(kind, path.stem) for kind in KINDS for path in sorted((self._folder / kind).iterdir())]
        owned = [Owned(kind, f"{kind}/{name}", self._tags(f"{kind}/{name}")) for kind, name in found]
        return [item for item in owned if TagScheme().is_ours(item.tags)]

    def delete_owned(self, owned: Owned) -> None:
        path = self._folder / f"{owned.identity}.json"
        if path.exists() and not TagScheme().is_ours(self._tags(owned.identity)):
            raise CloudError(f"{owned.identity} is not deleted: its tags do not say that it is ours.")
        path.unlink(missing_ok=True)
        self._entries.gone(owned.kind, name=path.stem)

    def close(self) -> None:
        pass

    def _tags(self, identity: str) -> dict[str, str]:
        return dict(json.loads((self._folder / f"{identity}.json").read_text())["tags"])
