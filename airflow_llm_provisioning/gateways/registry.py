"""One question to a container registry: is this image still there? By the distribution protocol, anonymously."""

from typing import Any, Final

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
    """Return whether a manifest of that reference can be read without credentials. Raises ProvisioningError when
    unknown.

    Docker Hub's names are expanded; `HEAD /v2/<repository>/manifests/<reference>` with the token the challenge asks for
    (distribution specification 1.1, token authentication of distribution/distribution).
    """
    import aiohttp

    host, repository, version = split_reference(reference)
    scheme = "http" if host.startswith(("127.0.0.1", "localhost")) else "https"
    url = f"{scheme}://{host}/v2/{repository}/manifests/{version}"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            async with session.head(url, headers={"Accept": ACCEPTED}) as reply:
                status, challenge = reply.status, reply.headers.get("WWW-Authenticate", "")
            if status == 401:
                token = await _token(session, challenge)
                headers = {"Accept": ACCEPTED, "Authorization": f"Bearer {token}"}
                async with session.head(url, headers=headers) as reply:
                    status = reply.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ProvisioningError(f"Registry {host} could not be asked: {error!r}") from error
    if status in (200, 404):
        return status == 200
    raise ProvisioningError(f"Registry {host} answered {status} for {repository}.")


def split_reference(reference: str) -> tuple[str, str, str]:
    """Return (host, repository, tag or digest) of an image reference, Docker Hub's defaults spelled out."""
    name, at, digest = reference.partition("@")
    head, slash, rest = name.partition("/")
    host, path = (head, rest) if slash and ("." in head or ":" in head) else ("registry-1.docker.io", name)
    path, colon, tag = path.partition(":")
    if host == "registry-1.docker.io" and "/" not in path:
        path = f"library/{path}"
    return host, path, digest if at else tag if colon else "latest"


async def _token(session: Any, challenge: str) -> str:
    fields = dict(part.split("=", 1) for part in challenge.partition(" ")[2].split(",") if "=" in part)
    realm = fields.pop("realm", "").strip('"')
    if not realm:
        raise ProvisioningError("the registry asks for credentials in a way that is not understood")
    async with session.get(realm, params={key: value.strip('"') for key, value in fields.items()}) as reply:
        body = await reply.json()
    return str(body.get("token") or body.get("access_token") or "")
