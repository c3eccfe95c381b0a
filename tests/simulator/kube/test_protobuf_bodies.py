"""The protobuf that kubectl's typed commands send is read as the object it holds."""

import pytest

from llm_provisioning_simulator.kube.protobuf import decode
from llm_provisioning_simulator.kube.statuses import StatusError


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def body(kind: str, raw: bytes, version: str = "v1") -> bytes:
    about = field(1, version.encode()) + field(2, kind.encode())
    return b"k8s\x00" + field(1, about) + field(2, raw) + field(3, b"")


def pair(key: str, value: bytes) -> bytes:
    return field(1, key.encode()) + field(2, value)


def test_a_config_map() -> None:
    """Metadata, maps and flags."""
    metadata = field(1, b"c") + field(3, b"") + field(11, pair("a", b"b"))
    raw = field(1, metadata) + field(2, pair("k", b"v")) + field(2, pair("l", b"w")) + b"\x20\x01"
    assert decode(body("ConfigMap", raw)) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "labels": {"a": "b"}},
        "data": {"k": "v", "l": "w"},
        "immutable": True,
    }


def test_a_secrets_bytes_are_base64() -> None:
    """As JSON carries them."""
    assert decode(body("Secret", field(2, pair("k", b"v"))))["data"] == {"k": "dg=="}


def test_numbers_longer_than_a_byte() -> None:
    """A grace period of 300 seconds."""
    assert decode(body("DeleteOptions", b"\x08\xac\x02"))["gracePeriodSeconds"] == 300


@pytest.mark.parametrize("data", [b"{}", body("Pod", b""), body("ConfigMap", b"\x0a"), body("ConfigMap", b"\x0d1234")])
def test_what_is_not_known_is_415(data: bytes) -> None:
    """Another kind, or bytes that are no message: the client is told to send JSON."""
    with pytest.raises(StatusError) as caught:
        decode(data)
    assert caught.value.code == 415
