"""One question to a container registry: is this image still there? By the distribution protocol, anonymously."""

import re
from typing import Any, Final

from airflow_llm_provisioning.core.image_reference import ImageReference, checked_reference
from airflow_llm_provisioning.exceptions import ProvisioningError

ACCEPTED: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
TIMEOUT_S: Final = 15.0


async def image_exists(reference: str) -> bool:
    """Return whether a manifest of that reference can be read without credentials; ProvisioningError when unknown.

    A ConfigurationError says that the text is no reference.

    Docker Hub's names are expanded; `HEAD /v2/<repository>/manifests/<reference>` with the token the challenge asks for
    (distribution specification 1.1, token authentication of distribution/distribution).
    """
    import aiohttp

    host, repository, version = ImageReference.parse(checked_reference(reference)).at_registry()
    scheme = "http" if host.partition(":")[0] in ("127.0.0.1", "localhost") else "https"
    url = f"{scheme}://{host}/v2/{repository}/manifests/{version}"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            async with session.head(url, headers={"Accept": ACCEPTED}) as reply:
                status, challenge = reply.status, reply.headers.get("WWW-Authenticate", "")
            if status == 401 and challenge.lower().startswith("bearer "):
                token = await _token(session, challenge)
                headers = {"Accept": ACCEPTED, "Authorization": f"Bearer {token}"}
                async with session.head(url, headers=headers) as reply:
                    status = reply.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise ProvisioningError(f"Registry {host} could not be asked: {str(error) or type(error).__name__}.") from error
    if status in (200, 404):
        return status == 200
    raise ProvisioningError(f"Registry {host} answered {status} for {repository} to a question without credentials.")


async def _token(session: Any, challenge: str) -> str:
    # A scope may hold commas: `Bearer realm="https://..",service="..",scope="repository:a/b:pull,push"`.
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    realm = fields.pop("realm", "")
    if not realm:
        raise ProvisioningError(f"a registry asked for credentials in a way that is not understood: {challenge!r}")
    asked = {key: fields[key] for key in ("service", "scope") if key in fields}
    async with session.get(realm, params=asked) as reply:
        body = await reply.json(content_type=None) if reply.status == 200 else {}
    return str(body.get("token") or body.get("access_token") or "")
