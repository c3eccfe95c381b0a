"""Was an image streamed? What a node reported of it, checked against Azure's own state.

A `Pulled` event appears either way. The positive signal is acr-nodemon's event on the pod, with the digest of the
artifact: it is believed where the registry lists that artifact for the image. Nodes without that event (it is not
documented, so a version may lack it) are judged by state and pull: converted, switched on and named by tag are
necessary, each must be known, and then the pull's bytes over its seconds decide. It changes nothing in Azure.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from airflow_llm_provisioning.core.image_arrival import (
    FULL_PULL_BYTES_S,
    IMPLAUSIBLE_BYTES_S,
    JUDGED_BYTES,
    StreamedImage,
    streamed_image,
)
from airflow_llm_provisioning.core.image_reference import ImageReference
from airflow_llm_provisioning.exceptions import CloudError
from airflow_llm_provisioning.gateways.clouds.aks.arm import AzureAccount, azure_errors
from airflow_llm_provisioning.gateways.clouds.aks.pools import Pools, streams
from airflow_llm_provisioning.gateways.clouds.aks.storage import bucket_region
from airflow_llm_provisioning.gateways.clouds.base import Evidence

POOL_LABEL: Final = "kubernetes.azure.com/agentpool"
# Nodes of node auto-provisioning belong to a Karpenter NodePool, which is no agent pool of AKS's API.
KARPENTER_LABEL: Final = "karpenter.sh/nodepool"


class StreamingEvidence:
    """Answers the claims `image_by_tag`, `image_converted`, `converted_before_pull`, `pool_streams`, `image_streamed`,
    `weights_bucket_region`.

    Facts it reads, each optional: `image` (as in the pod), `digest`, `cluster`, `pools` (names), `nodes` (names or
    {name, labels}), `pulls` ([{node, size_bytes, pull_s}]), `pulled_at` (first pull, ISO 8601), `image_pull_secrets`
    (names in the pod), `events` ([{reason, node, message}] of nodes and pods), `weights_source`, `weights_account`.
    """

    def __init__(self, account: AzureAccount) -> None:
        self._account = account
        self._pools = Pools(account)

    def answer(self, claim: str, facts: Mapping[str, Any]) -> Evidence:
        """Return what is known about one claim; a claim that is none of ours gets None."""
        asked: Mapping[str, Callable[[Mapping[str, Any]], tuple[bool | None, str, str]]] = {
            "image_by_tag": _by_tag,
            "image_converted": self._converted,
            "converted_before_pull": self._before_pull,
            "pool_streams": self._pool_streams,
            "image_streamed": self._streamed,
            "weights_bucket_region": partial(bucket_region, self._account),
        }
        if claim not in asked:
            return Evidence(claim, None, "AKS cannot speak about this.", "aks")
        try:
            holds, detail, source = asked[claim](facts)
        except CloudError as error:
            holds, detail, source = None, f"Azure could not be asked: {error}", "aks"
        return Evidence(claim, holds, detail, source)

    def _artifacts(self, facts: Mapping[str, Any]) -> tuple[ImageReference, list[str]] | None:
        name = ImageReference.parse(str(facts.get("image") or ""))
        if not (name.host or "").endswith(REGISTRY_SUFFIXES):
            return None
        data_plane = self._account.data_plane(str(name.host))
        with azure_errors(f"Reading image {facts['image']}"):
            digest = facts.get("digest") or name.digest or data_plane.digest_of_tag(name.repository, str(name.tag))
            return name, data_plane.streaming_artifacts(name.repository, str(digest)) if digest else []

    def _converted(self, facts: Mapping[str, Any]) -> tuple[bool | None, str, str]:
        found = self._artifacts(facts)
        if not facts.get("image"):
            return None, "The pod's image is not known.", "trace"
        if found is None:
            return False, f"{facts.get('image')!r} is in no Azure registry: nothing could be converted.", "image name"
        artifacts = found[1]
        if not artifacts:
            return False, "The registry lists no streaming artifact for the image.", "ACR referrers"
        return True, f"The registry lists streaming artifact {artifacts[0]}.", "ACR referrers"

    def _before_pull(self, facts: Mapping[str, Any]) -> tuple[bool | None, str, str]:
        if not facts.get("pulled_at"):
            return None, "When the image was first pulled is not known.", "trace"
        found = self._artifacts(facts)
        if found is None or not found[1]:
            return False, "There is no streaming artifact.", "ACR referrers"
        name, artifacts = found
        with azure_errors(f"Reading the streaming artifact of {facts['image']}"):
            data_plane = self._account.data_plane(str(name.host))
            attributes = data_plane.manifest_attributes(name.repository, artifacts[0])
        created = (attributes or {}).get("createdTime")
        if not created:
            return None, "The registry does not say when the artifact was made.", "ACR manifest attributes"
        complete_at, pulled_at = _instant(str(created)), _instant(str(facts["pulled_at"]))
        before = complete_at <= pulled_at
        return (
            before,
            f"The artifact is from {complete_at.isoformat()}, the first pull from {pulled_at.isoformat()}"
            + ("." if before else ": the node got the plain image and keeps it."),
            "ACR manifest attributes",
        )

    def _pool_streams(self, facts: Mapping[str, Any]) -> tuple[bool | None, str, str]:
        names = _pool_names(facts)
        if not names or not facts.get("cluster"):
            return None, "Which agent pool the nodes belong to is not known (no pool of AKS: Luna or Karpenter).", "aks"
        off: list[str] = []
        for name in names:
            pool = self._pools.get(str(facts["cluster"]), name)
            if pool is None:
                return None, f"Agent pool {name!r} is gone, so its setting cannot be read.", "AKS agentPools"
            if not streams(pool.properties):
                off.append(name)
        if off:
            return False, f"Streaming is off on pool {', '.join(off)}.", "AKS agentPools"
        return True, f"Streaming is on for pool {', '.join(names)}.", "AKS agentPools"

    def _streamed(self, facts: Mapping[str, Any]) -> tuple[bool | None, str, str]:
        reported = _reported(facts)
        return self._checked(facts, reported) if reported else self._judged(facts)

    def _checked(
        self, facts: Mapping[str, Any], reported: Sequence[tuple[str, StreamedImage]]
    ) -> tuple[bool | None, str, str]:
        """Compare the artifacts that nodes reported with those that the registry lists."""
        found = self._artifacts(facts)
        listed = found[1] if found is not None else []
        for node, streamed in reported:
            if streamed.artifact not in listed:
                detail = (
                    f"{node} reported streaming artifact {streamed.artifact}, and the registry lists "
                    f"{', '.join(listed) or 'none'} for the image: its tag was moved, or the artifact deleted."
                )
                return None, detail, NODEMON_SOURCE
        told = "; ".join(f"{node} streamed {streamed.artifact}" for node, streamed in reported)
        return True, f"{told}, which the registry lists for the image.", NODEMON_SOURCE

    def _judged(self, facts: Mapping[str, Any]) -> tuple[bool | None, str, str]:
        needed = (_by_tag, _without_secrets, self._converted, self._pool_streams, self._before_pull)
        answers = [question(facts) for question in needed]
        for holds, detail, source in answers:
            if holds is False:
                return False, detail, source
        by_tag, _, converted, pool, _ = answers
        # The image's own state must be known; the pool's wherever the nodes are of a pool that AKS's API has.
        for holds, detail, source in (by_tag, converted, *([pool] if _pool_names(facts) else [])):
            if holds is None:
                return None, detail, source
        return _from_pulls(facts.get("pulls") or ())


NODEMON_SOURCE: Final = "event of acr-nodemon, ACR referrers"
# Registries of Azure's clouds: public, US Government, China.
REGISTRY_SUFFIXES: Final = (".azurecr.io", ".azurecr.us", ".azurecr.cn")


def _reported(facts: Mapping[str, Any]) -> list[tuple[str, StreamedImage]]:
    """Return (node in words, what acr-nodemon reported) of the trial's nodes, for the trial's image."""
    image, found = str(facts.get("image") or ""), []
    nodes = {str(node["name"] if isinstance(node, Mapping) else node) for node in facts.get("nodes") or ()}
    for event in facts.get("events") or ():
        streamed, node = streamed_image(str(event.get("message") or "")), str(event.get("node") or "")
        elsewhere = bool(nodes and node and node not in nodes)
        if streamed is not None and streamed.image.lower() == image.lower() and not elsewhere:
            found.append((f"Node {node}" if node else "A node", streamed))
    return found


def _by_tag(facts: Mapping[str, Any]) -> tuple[bool | None, str, str]:
    image = facts.get("image")
    if not image:
        return None, "The pod's image is not known.", "trace"
    if "@" in str(image):
        return False, f"{image!r} names a digest; nodes redirect only tags to the streaming artifact.", "image name"
    return True, f"{image!r} names a tag.", "image name"


def _without_secrets(facts: Mapping[str, Any]) -> tuple[bool | None, str, str]:
    secrets = facts.get("image_pull_secrets")
    if secrets:
        names = ", ".join(map(str, secrets))
        return False, f"The pod pulls with imagePullSecrets ({names}), and so gets the plain image.", "pod"
    return None if secrets is None else True, "No imagePullSecrets are known of.", "pod"


def _from_pulls(pulls: Sequence[Mapping[str, Any]]) -> tuple[bool | None, str, str]:
    known = [pull for pull in pulls if pull.get("size_bytes") and pull.get("pull_s")]
    known = [pull for pull in known if float(pull["size_bytes"]) >= JUDGED_BYTES]
    if not known:
        return None, "No pull of a large image with bytes and seconds was seen, and nothing else proves it.", "trace"
    slowest = min(known, key=lambda pull: float(pull["size_bytes"]) / float(pull["pull_s"]))
    rate = float(slowest["size_bytes"]) / float(slowest["pull_s"])
    detail = f"{float(slowest['size_bytes']) / 1e9:.2f} GB in {float(slowest['pull_s']):.1f} s is {rate / 1e6:.0f} MB/s"
    if rate >= IMPLAUSIBLE_BYTES_S:
        return True, f"{detail}: no full pull is that fast.", "event Pulled"
    if rate > FULL_PULL_BYTES_S:
        return None, f"{detail}: too fast for most full pulls, and no node reported streaming.", "event Pulled"
    return False, f"{detail}: that is an ordinary pull.", "event Pulled"


def _pool_names(facts: Mapping[str, Any]) -> list[str]:
    names = [str(name) for name in facts.get("pools") or ()]
    for node in facts.get("nodes") or ():
        if isinstance(node, Mapping):
            labels = node.get("labels") or {}
            names += [str(labels[POOL_LABEL])] if POOL_LABEL in labels and KARPENTER_LABEL not in labels else []
        elif str(node).startswith("aks-") and "-vmss" in str(node):
            names.append(str(node).split("-")[1])  # aks-<pool>-<number>-vmss<index>
    return list(dict.fromkeys(names))


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
