"""What an engine says of its weights, in the wordings of several releases."""

import pytest
from weight_traces import GIB, PHI3_BYTES, config_line, loaded_lines, v0_config_line, view_of

from airflow_llm_provisioning.core.trace.redaction import redact
from airflow_llm_provisioning.core.weight_loading import engine_configs, load_rate, load_s, streams

IN_WORKER = "(EngineCore_DP0 pid=20129) (Worker_TP1 pid=20137) [2026-02-15 05:16:38] INFO file_streamer.py:66: "
# runai-model-streamer 0.15 inside vLLM's worker, 0.6 on standard output, the distributed one, and an older wording.
LINES = (
    f"{IN_WORKER}[RunAI Streamer] Overall time to stream 34.3 GiB of all files to cpu: 28.52s, 1.2 GiB/s",
    "[RunAI Streamer] Overall time to stream 7.1 GiB of all files: 11.01s, 664.3 MiB/s",
    "[RunAI Distributed Streamer] Overall time to stream 7.1 GiB of all files to cuda:0: 4.0s, 1.8 GiB/s",
    "[RunAI Streamer] Overall time to stream 3.9 GiB: 1.24s, 3.1 GiB/s",
)


def test_the_streamers_lines_are_read() -> None:
    """Size with its rounding, seconds, rate."""
    found = streams(view_of(*LINES))
    assert [(round(item.size_bytes / GIB, 1), item.seconds) for item in found] == [
        (34.3, 28.52),
        (7.1, 11.01),
        (7.1, 4.0),
        (3.9, 1.24),
    ]
    assert [item.holds(PHI3_BYTES) for item in found] == [False, True, True, False]
    assert found[1].rate_bytes_s == pytest.approx(7.1 * GIB / 11.01)


def test_load_formats_of_old_and_new_engines() -> None:
    """An enumeration's name until 0.9, its value later."""
    found = engine_configs(view_of(v0_config_line("auto"), config_line("runai_streamer")))
    assert [(item.version, item.load_format) for item in found] == [("0.5.4", "auto"), ("0.22.1", "runai_streamer")]


def test_the_slowest_rank_counts() -> None:
    """Two ranks; without the bytes there is no rate."""
    view = view_of(*loaded_lines(0.8), *loaded_lines(2.0), weight_bytes=None)
    assert load_s(view) == 2.0
    assert load_rate(view) == "The engine loaded its weights in 2.00 s."


@pytest.mark.parametrize("text", [config_line("instanttensor"), v0_config_line("auto"), *LINES])
def test_redaction_keeps_these_lines(text: str) -> None:
    """`tokenizer=` is no token: what is stored is what was written."""
    assert redact("ray-log-file", text) == text
