"""The download's rate follows from what is installed and set, as huggingface_hub's own rules say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_provisioning_simulator.app.download import (
    DownloadError,
    DownloadLimits,
    DownloadPlan,
    download_plan,
    download_s,
)

LIMITS = DownloadLimits(8, 100, 50 * 2**20, 16, 64)
MB = 1_000_000
SHARDS = (130 * MB, 70 * MB)


def client(env: dict[str, str] | None = None, **packages: str) -> str:
    named = {name.replace("_", "-"): version for name, version in packages.items()}
    return download_plan(named, env or {}, LIMITS).client


@pytest.mark.parametrize(
    ("packages", "env", "expected"),
    [
        ({"huggingface_hub": "0.25.2"}, {}, "plain"),
        ({"huggingface_hub": "0.25.2", "hf_transfer": "0.1.9"}, {}, "plain"),
        ({"huggingface_hub": "0.25.2", "hf_transfer": "0.1.9"}, {"HF_HUB_ENABLE_HF_TRANSFER": "1"}, "hf_transfer"),
        ({"huggingface_hub": "0.25.2", "hf_transfer": "0.1.9", "vllm": "0.5.4"}, {}, "hf_transfer"),
        (
            {"huggingface_hub": "0.25.2", "hf_transfer": "0.1.9", "vllm": "0.5.4"},
            {"HF_HUB_ENABLE_HF_TRANSFER": "0"},
            "plain",
        ),
        (
            {"huggingface_hub": "0.34.0", "hf_transfer": "0.1.9", "hf_xet": "1.1.5"},
            {"HF_HUB_ENABLE_HF_TRANSFER": "1"},
            "xet",
        ),
        (
            {"huggingface_hub": "0.34.0", "hf_transfer": "0.1.9", "hf_xet": "1.1.5"},
            {"HF_HUB_ENABLE_HF_TRANSFER": "1", "HF_HUB_DISABLE_XET": "1"},
            "hf_transfer",
        ),
        ({"huggingface_hub": "1.18.0", "hf_transfer": "0.1.9"}, {"HF_HUB_ENABLE_HF_TRANSFER": "1"}, "plain"),
        (
            {"huggingface_hub": "1.18.0", "hf_transfer": "0.1.9", "hf_xet": "1.5.0"},
            {"HF_HUB_ENABLE_HF_TRANSFER": "1"},
            "xet",
        ),
        ({"huggingface_hub": "2.4.0", "hf_xet": "1.8.0"}, {"HF_XET_HIGH_PERFORMANCE": "1"}, "xet_high_performance"),
        ({"huggingface_hub": "2.4.0"}, {"HF_XET_HIGH_PERFORMANCE": "1"}, "plain"),
    ],
)
def test_the_installed_releases_decide_the_client(packages: dict[str, str], env: dict[str, str], expected: str) -> None:
    """Flags alone decide nothing: the release and the importable packages do."""
    assert client(env, **packages) == expected


def test_the_flag_without_the_package_is_refused() -> None:
    """The hub raises where hf_transfer is asked for and missing; it does not fall back."""
    with pytest.raises(DownloadError, match="hf_transfer"):
        client({"HF_HUB_ENABLE_HF_TRANSFER": "1"}, huggingface_hub="0.25.2")


def seconds(plan: DownloadPlan, connection: float, node: float, files: tuple[int, ...] = SHARDS) -> float:
    return download_s(files, plan, connection_bytes_s=connection, node_bytes_s=node)


PLAIN = download_plan({"huggingface-hub": "0.25.2"}, {}, LIMITS)
FAST = download_plan({"huggingface-hub": "0.25.2", "hf-transfer": "0.1.9"}, {"HF_HUB_ENABLE_HF_TRANSFER": "1"}, LIMITS)


def test_the_plain_client_waits_for_its_largest_shard() -> None:
    """Measured with 0.36.2 at 20 MB/s a connection: two shards of 130 and 70 MB in 6.6 s."""
    assert seconds(PLAIN, 20 * MB, 1e12) == pytest.approx(6.5)


def test_hf_transfer_gains_where_one_connection_is_slower_than_the_link() -> None:
    """Files one by one, each over many ranges."""
    assert seconds(FAST, 20 * MB, 400 * MB) == pytest.approx(200 / 400)


def test_hf_transfer_gains_nothing_on_a_link_that_is_full_already() -> None:
    """Measured: 3.1 s against 3.2 s over a shared link without a limit per connection."""
    assert seconds(FAST, 100 * MB, 100 * MB) == pytest.approx(seconds(PLAIN, 100 * MB, 100 * MB))


def test_small_files_are_never_split() -> None:
    """Below 50 MiB hf_transfer is not used."""
    assert seconds(FAST, 20 * MB, 1e12, (40 * MB,)) == pytest.approx(2.0)


@given(
    st.lists(st.integers(1, 10**10), min_size=1, max_size=12),
    st.floats(1e6, 1e9),
    st.floats(1e6, 1e9),
    st.sampled_from([PLAIN, FAST]),
)
def test_a_download_keeps_within_link_and_connections(
    files: list[int], connection: float, node: float, plan: DownloadPlan
) -> None:
    """Never faster than the node's link or than every connection together; never slower than one connection alone."""
    took = seconds(plan, connection, node, tuple(files))
    assert took >= sum(files) / node * 0.999
    assert took >= max(files) / (connection * plan.connections) * 0.999
    assert took <= sum(files) / min(connection, node) * 1.001 + 0.001
