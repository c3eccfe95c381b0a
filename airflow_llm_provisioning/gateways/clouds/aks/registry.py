"""A container registry's own API: what `az acr artifact-streaming` calls, which no SDK of Azure offers.

Small on purpose: token exchange, tags, manifests, referrers, conversions. The paths are those of azure-cli 2.91.0
(command_modules/acr/artifact_streaming.py, _docker_utils.py, manifest.py); they have no published specification. It
knows no operation, ledger or verb; it raises azure-core's exceptions, like the SDK clients beside it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote

from azure.core import PipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import (
    HeadersPolicy,
    RedirectPolicy,
    RetryPolicy,
    SensitiveHeaderCleanupPolicy,
    UserAgentPolicy,
)
from azure.core.rest import HttpRequest

# The audience whose token an Azure container registry exchanges, in every Azure cloud (azure-containerregistry 1.2.0).
REGISTRY_SCOPE: Final = "https://containerregistry.azure.net/.default"
STREAMING_ARTIFACT: Final = "application/vnd.azure.artifact.streaming.v1"
CONVERSION: Final[Mapping[str, str]] = {"conversionFormat": "overlaybd", "conversionVersion": "v1"}
_MANIFEST_TYPES: Final = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Conversion:
    """A conversion as the registry tells it. `error_code` and `message`: only where it failed and said why."""

    operation_id: str | None
    status: Literal["NotStarted", "Running", "Succeeded", "Failed", "Canceled"] | str
    progress: str | None = None
    error_code: str | None = None
    message: str | None = None

    @property
    def going_on(self) -> bool:
        """Whether it may still end well."""
        return self.status in ("NotStarted", "Running")


class RegistryClient:
    """One registry. Tokens are exchanged when first needed, kept per scope, and exchanged again once when refused."""

    def __init__(
        self,
        credential: Any,
        login_server: str,
        *,
        endpoint: str | None,
        tenant_id: str | None,
        options: Mapping[str, Any],
    ) -> None:
        self.login_server = login_server
        self._credential = credential
        self._tenant_id = tenant_id
        self._refresh_token: str | None = None
        self._access_tokens: dict[str, str] = {}
        # A stand-in serves all registries at one address and tells them apart as a web server does.
        self._headers = {"Host": login_server} if endpoint else {}
        self._base = (endpoint or f"https://{login_server}").rstrip("/")
        self._client = PipelineClient(
            base_url=self._base,
            policies=[
                HeadersPolicy(),
                UserAgentPolicy("airflow-llm-provisioning"),
                RedirectPolicy(),  # blobs are answered with a redirection to storage
                RetryPolicy(**options),
                SensitiveHeaderCleanupPolicy(),  # ... which must not get our token
            ],
            **{key: value for key, value in options.items() if key.endswith("_timeout")},
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def digest_of_tag(self, repository: str, tag: str) -> str | None:
        """Return the digest a tag points at, or None where there is no such tag or repository."""
        answer = self._ask("GET", f"/acr/v1/{repository}/_tags/{tag}", repository, "metadata_read", absent=True)
        return None if answer is None else str(answer["tag"]["digest"])

    def manifest_attributes(self, repository: str, digest: str) -> dict[str, Any] | None:
        """Return {digest, imageSize, createdTime, architecture, os, references, ...} of a manifest, or None."""
        path = f"/acr/v1/{repository}/_manifests/{digest}"
        answer = self._ask("GET", path, repository, "metadata_read", absent=True)
        return None if answer is None else dict(answer.get("manifest") or {})

    def image_labels(self, repository: str, digest: str) -> dict[str, str]:
        """Return the labels in an image's configuration; {} where there are none, or it is no image."""
        manifest = self._ask("GET", f"/v2/{repository}/manifests/{digest}", repository, "pull", accept=_MANIFEST_TYPES)
        config = ((manifest or {}).get("config") or {}).get("digest")
        if not config:
            return {}
        blob = self._ask("GET", f"/v2/{repository}/blobs/{config}", repository, "pull")
        return dict(((blob or {}).get("config") or {}).get("Labels") or {})

    def subject(self, repository: str, digest: str) -> str | None:
        """Return the digest of the image an artifact refers to; None for what refers to nothing."""
        manifest = self._ask("GET", f"/v2/{repository}/manifests/{digest}", repository, "pull", accept=_MANIFEST_TYPES)
        subject = ((manifest or {}).get("subject") or {}).get("digest")
        return None if subject is None else str(subject)

    def streaming_artifacts(self, repository: str, digest: str) -> list[str]:
        """Return the digests of the streaming artifacts that refer to an image; empty means: not converted."""
        path = f"/v2/{repository}/referrers/{digest}?artifactType={quote(STREAMING_ARTIFACT, safe='')}"
        answer = self._ask("GET", path, repository, "pull", absent=True) or {}
        return [
            str(item["digest"])
            for item in answer.get("manifests") or []
            # The filter is optional in the OCI specification: a registry may answer with every referrer.
            if item.get("artifactType", STREAMING_ARTIFACT) == STREAMING_ARTIFACT
        ]

    def conversion_of(self, repository: str, digest: str) -> Conversion | None:
        """Return the conversion the registry remembers for an image, or None."""
        answer = self._ask("GET", f"/acr/v1/{repository}/_streaming/{digest}", repository, "pull,push", absent=True)
        return None if answer is None else _conversion(answer)

    def convert(self, repository: str, digest: str) -> Conversion:
        """Begin a conversion. Asynchronous: what it returns is not yet an artifact."""
        path = f"/acr/v1/{repository}/_streaming/{digest}"
        return _conversion(self._ask("POST", path, repository, "pull,push", body=CONVERSION) or {})

    def conversion(self, repository: str, operation_id: str) -> Conversion | None:
        """Return how far a conversion is, or None where the registry has forgotten it."""
        path = f"/acr/v1/{repository}/_operations/{operation_id}"
        answer = self._ask("GET", path, repository, "pull,push", absent=True)
        return None if answer is None else _conversion({"id": operation_id, **answer})

    def cancel_conversion(self, repository: str, operation_id: str) -> None:
        """Cancel a conversion; one that is over or forgotten is no error."""
        path = f"/acr/v1/{repository}/_operations/{operation_id}:cancel"
        self._ask("POST", path, repository, "pull,push", absent=True)

    def repositories(self) -> Iterator[str]:
        """Yield the names of all repositories."""
        yield from self._pages("/acr/v1/_catalog", None, "repositories")

    def manifests(self, repository: str) -> Iterator[dict[str, Any]]:
        """Yield the attributes of every manifest of a repository, tagged or not: {digest, createdTime, tags, ...}."""
        yield from self._pages(f"/acr/v1/{repository}/_manifests", repository, "manifests")

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest with its tags; gone already is no error."""
        self._ask("DELETE", f"/v2/{repository}/manifests/{digest}", repository, "delete", absent=True)

    def _pages(self, path: str, repository: str | None, key: str) -> Iterator[Any]:
        last: str | None = None
        while True:
            query = f"?n={_PAGE}" + (f"&last={quote(last, safe='')}" if last else "")
            answer = self._ask("GET", path + query, repository, "metadata_read" if repository else "*", absent=True)
            items = (answer or {}).get(key) or []
            yield from items
            if len(items) < _PAGE:
                return
            last = items[-1] if isinstance(items[-1], str) else items[-1]["digest"]

    def _ask(
        self,
        method: str,
        path: str,
        repository: str | None,
        actions: str,
        *,
        body: Mapping[str, Any] | None = None,
        accept: str = "application/json",
        absent: bool = False,
    ) -> dict[str, Any] | None:
        scope = f"repository:{repository}:{actions}" if repository else f"registry:catalog:{actions}"
        response = self._send(method, path, scope, body, accept)
        if response.status_code == 401:
            self._refresh_token = None
            self._access_tokens.clear()
            response = self._send(method, path, scope, body, accept)
        if response.status_code == 404 and absent:
            return None
        return _json(response)

    def _send(self, method: str, path: str, scope: str, body: Mapping[str, Any] | None, accept: str) -> Any:
        headers = {**self._headers, "Authorization": f"Bearer {self._access_token(scope)}", "Accept": accept}
        return self._client.send_request(HttpRequest(method, self._base + path, headers=headers, json=body))

    def _access_token(self, scope: str) -> str:
        if scope not in self._access_tokens:
            if self._refresh_token is None:
                form = {
                    "grant_type": "access_token",
                    "service": self.login_server,
                    "access_token": self._credential.get_token(REGISTRY_SCOPE).token,
                }
                if self._tenant_id:
                    form["tenant"] = self._tenant_id
                self._refresh_token = self._grant("/oauth2/exchange", form, "refresh_token")
            form = {
                "grant_type": "refresh_token",
                "service": self.login_server,
                "scope": scope,
                "refresh_token": self._refresh_token,
            }
            self._access_tokens[scope] = self._grant("/oauth2/token", form, "access_token")
        return self._access_tokens[scope]

    def _grant(self, path: str, form: Mapping[str, str], key: str) -> str:
        request = HttpRequest("POST", self._base + path, headers=self._headers, data=form)
        return str((_json(self._client.send_request(request)) or {})[key])


def _json(response: Any) -> dict[str, Any] | None:
    if response.status_code >= 400:
        raise HttpResponseError(response=response)
    text = response.text()
    return json.loads(text) if text.strip() else None


def _conversion(answer: Mapping[str, Any]) -> Conversion:
    """Read a conversion: {id?, status, progress?, details?}. An operation has no id in its body, and its text is in
    `details` (azure-cli, recorded 2025-04-28). How a failed one looks is not published, so the usual places of an error
    are tried too.
    """
    errors = answer.get("errors") or [answer.get("error") or {}]
    first = errors[0] if isinstance(errors[0], Mapping) else {"code": str(errors[0])}
    identity = answer.get("id") or answer.get("operationId")
    status = str(answer.get("status") or "NotStarted")
    details = None if status in ("NotStarted", "Running") else _text(answer.get("details"))
    code_in_details, details = _code_and_text(details)
    return Conversion(
        operation_id=None if identity is None else str(identity).rsplit("/", 1)[-1],
        status=status,
        progress=answer.get("progress"),
        error_code=first.get("code") or answer.get("errorCode") or code_in_details,
        message=first.get("message") or answer.get("message") or details,
    )


def _text(details: Any) -> str | None:
    """Return the text of a field that may hold text, or objects with a message."""
    if not isinstance(details, (list, tuple)):
        return str(details) if details else None
    told = [str(item.get("message") or item) if isinstance(item, Mapping) else str(item) for item in details]
    return "; ".join(told) or None


def _code_and_text(details: str | None) -> tuple[str | None, str | None]:
    """Take a text of the form `UNSUPPORTED_PLATFORM: ...` apart; without a code, None and the text."""
    found = re.fullmatch(r"([A-Z]+(?:_[A-Z]+)+)(?:\W+(.*))?", details or "", re.DOTALL)
    return (found[1], found[2] or None) if found else (None, details)
