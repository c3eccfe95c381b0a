"""Image references, taken apart as Docker does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_llm_provisioning.core.image_reference import ImageReference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest", "full"),
    [
        ("ray", None, "ray", None, None, "docker.io/library/ray"),
        ("rayproject/ray:2.46", None, "rayproject/ray", "2.46", None, "docker.io/rayproject/ray:2.46"),
        ("docker.io/ray:1", "docker.io", "ray", "1", None, "docker.io/library/ray:1"),
        ("index.docker.io/a/b", "index.docker.io", "a/b", None, None, "docker.io/a/b"),
        ("ghcr.io/a/b/c:1", "ghcr.io", "a/b/c", "1", None, "ghcr.io/a/b/c:1"),
        ("localhost/a:1", "localhost", "a", "1", None, "localhost/a:1"),
        ("localhost:5000/a", "localhost:5000", "a", None, None, "localhost:5000/a"),
        (f"reg.io:5000/a:1@{DIGEST}", "reg.io:5000", "a", "1", DIGEST, f"reg.io:5000/a:1@{DIGEST}"),
        ("x.azurecr.io/ray-serving:r-1", "x.azurecr.io", "ray-serving", "r-1", None, "x.azurecr.io/ray-serving:r-1"),
    ],
)
def test_every_form_is_taken_apart(
    text: str, host: str | None, repository: str, tag: str | None, digest: str | None, full: str
) -> None:
    """A host is only what can be one; Docker Hub is spelled out for containerd."""
    found = ImageReference.parse(text)
    assert (found.host, found.repository, found.tag, found.digest) == (host, repository, tag, digest)
    assert found.full() == full


NAME = st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9-]{1,8}){0,2}", fullmatch=True)


@given(
    st.sampled_from(["ghcr.io", "localhost", "reg.io:5000"]),
    NAME,
    st.none() | st.just("v1"),
    st.none() | st.just(DIGEST),
)
def test_what_is_put_together_is_taken_apart_again(host: str, name: str, tag: str | None, digest: str | None) -> None:
    """With a host that is not Docker Hub's nothing is added and nothing is lost."""
    text = f"{host}/{name}" + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    found = ImageReference.parse(text)
    assert (found.host, found.repository, found.tag, found.digest) == (host, name, tag, digest)
    assert found.full() == text
