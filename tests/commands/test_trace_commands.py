"""`replay` and `trace` on the command line: output and exit codes."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from trace_builders import small_chunks, small_trace
from trial_builders import a_planned_trial, a_result

from airflow_llm_provisioning import cli
from airflow_llm_provisioning.core.judging import judge_trace, trial_row
from airflow_llm_provisioning.core.replay import result_text
from airflow_llm_provisioning.core.trace import encode_chunk, encode_line
from airflow_llm_provisioning.gateways.store.analysis_version import analysis_version
from airflow_llm_provisioning.gateways.store.results import ResultsStore

OPENED_AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
SECRET = "AKIA" + "IOSFODNN7EXAMPLE"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/results.db"


@pytest.fixture
def run(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on this test's own store: exit code, output, errors."""
    monkeypatch.setenv("LLM_PROVISIONING_STORE", url)

    def command(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def save(url: str, trial_id: str = "night-1", *, by: str | None = None, **changes: Any) -> None:
    """Record and close a trial like the teardown; `changes` are applied to its row afterwards."""
    store = ResultsStore.open(url)
    for chunk in small_chunks(trial_id=trial_id):
        store.append_trace(trial_id, chunk)
    judgement = judge_trace(store.trace(trial_id), [])
    row = trial_row(
        a_planned_trial(trial_id),
        judgement,
        outcomes=(),
        wait_state=None,
        closed_at=OPENED_AT + timedelta(hours=1),
        analysis_version=by or analysis_version(),
    )
    document = judgement.as_dict()
    if by is not None:
        # As an earlier version might have it: without one phase, and with another instant.
        document["total_s"] = 50.0
        document["phases"] = document["phases"][1:]
        row = replace(row, total_s=50.0, phases=row.phases[1:])
    store.save_trial(replace(row, **changes), result_text(document))
    store.close()


def test_a_stored_trial_replays_the_same_byte_for_byte(run: Run, url: str) -> None:
    """The exit code is 0; every number is printed with its bounds and its source."""
    save(url)
    code, out, _ = run("replay", "night-1")
    assert code == 0
    assert "the same, byte for byte" in out
    assert "SIMULATED" in out
    assert re.search(r"TOTAL +61\.\d+ s \(\d+\.\d+ to \d+\.\d+\)", out)
    assert re.search(r"head\.ready +pods trial-a-head condition Ready", out)


def test_another_version_shows_what_differs(run: Run, url: str) -> None:
    """The exit code is 1; total, phases and both versions are printed."""
    save(url, by="0.0.9+core.old")
    code, out, _ = run("replay", "night-1")
    assert code == 1
    assert f"differs, 0.0.9+core.old -> {analysis_version()}" in out
    assert "total_s: 50.0 -> 61." in out
    assert "+ operator_start: 2." in out
    assert "the trial's row" not in out


def test_a_changed_row_is_reported(run: Run, url: str) -> None:
    """The number in the tables must be the computed one."""
    save(url, completion_s=1.0)
    code, out, _ = run("replay", "night-1")
    assert code == 1
    assert "the trial's row differs from its analysis" in out
    assert "completion_s: 1.0 -> none" in out


def test_a_row_without_a_kept_result_is_compared_itself(run: Run, url: str) -> None:
    """A row of the first schema, without a stored result, is compared itself."""
    save(url, analysis_version=None)
    code, out, _ = run("replay", "night-1")
    assert code == 0
    assert "the same as the trial's row" in out
    save(url, "night-2", analysis_version=None, total_s=3.0)
    code, out, _ = run("replay", "night-2")
    assert code == 1
    assert "total_s: 3.0 -> 61." in out


def test_every_trace_of_a_store_at_once(run: Run, url: str) -> None:
    """There is one line per trace with its differences, and the worst exit code."""
    save(url)
    save(url, "night-2", by="0.0.9+core.old")
    code, out, _ = run("replay", "--all")
    assert code == 1
    assert re.search(r"^night-1: the same", out, re.MULTILINE)
    assert re.search(r"^night-2: differs", out, re.MULTILINE)
    assert "2 traces: 1 same, 1 differs" in out
    code, out, _ = run("replay", "night-1", "nobody")
    assert code == 2
    assert "nobody: cannot read" in out


def test_json_has_the_same_content(run: Run, url: str) -> None:
    """It contains verdict, versions, differences, and the whole result."""
    save(url, by="0.0.9+core.old")
    code, out, _ = run("replay", "night-1", "--json")
    told = json.loads(out)
    assert (code, told["verdict"], told["computed_before_by"]) == (1, "differs", "0.0.9+core.old")
    assert told["computed_by"] == analysis_version()
    assert told["result"]["total_s"] == pytest.approx(61, abs=1)
    assert {"path": ["total_s"], "change": "changed", "old": 50.0, "new": told["result"]["total_s"]} in told[
        "differences"
    ]


def test_a_file_is_compared_with_an_earlier_output(run: Run, tmp_path: Path) -> None:
    """Without a store the trace is computed, then equal, then different."""
    trace, earlier = tmp_path / "t.jsonl.gz", tmp_path / "earlier.json"
    trace.write_bytes(encode_chunk(small_trace()))
    code, out, _ = run("replay", trace)
    assert code == 0
    assert "there is no earlier result to compare with" in out
    earlier.write_text(run("replay", trace, "--json")[1], encoding="utf-8")
    assert run("replay", trace, "--against", earlier)[0] == 0
    trace.write_bytes(encode_chunk(small_trace()[:-1]))
    code, out, _ = run("replay", trace, "--against", earlier)
    assert code == 1
    assert "outcome: ready -> unfinished" in out
    earlier.write_text("[]", encoding="utf-8")
    code, _, err = run("replay", trace, "--against", earlier)
    assert code == 2
    assert "not the output of `replay --json`" in err


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is a trace line"),
        (b"\x89PNG\r\n\x1a\n", "is a trace line"),
        (encode_line({**small_trace()[0], "object": {"format": 99}}), "has the format 99"),
        (encode_line({**small_trace()[0], "object": {"format": "x"}}), "damaged or is not from this recorder"),
    ],
)
@pytest.mark.parametrize("command", [("replay",), ("trace", "import")])
def test_what_cannot_be_read_is_one_sentence(
    run: Run, tmp_path: Path, command: tuple[str, ...], data: bytes, words: str
) -> None:
    """The sentence is on stderr, the exit code is 2, and stdout is empty."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(data)
    code, out, err = run(*command, path)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(("name", "told"), [("nope.jsonl", "does not exist"), ("a.jsonl.gz", "is a folder")])
def test_a_file_that_is_none_is_named_and_no_store(run: Run, tmp_path: Path, name: str, told: str) -> None:
    """A name of that form is a file's: the sentence about a store would hide the mistyped path."""
    (tmp_path / "a.jsonl.gz").mkdir()
    code, out, err = run("replay", tmp_path / name)
    assert (code, out) == (2, "")
    assert f"The file {tmp_path / name} {told}" in err
    assert "store" not in err


def test_a_truncated_trace_is_reported(run: Run, tmp_path: Path) -> None:
    """A truncated trace is computed, and the output says that it is truncated."""
    path = tmp_path / "cut.jsonl.gz"
    first, second = small_chunks()
    path.write_bytes(first + second[: len(second) // 2])
    code, out, _ = run("replay", path)
    assert code == 0
    assert "computed up to the end of a truncated trace: the last compressed chunk is incomplete" in out


@pytest.mark.parametrize("words", [("replay",), ("replay", "--all", "x"), ("replay", "x", "y", "--svg", "f")])
def test_an_ambiguous_command_is_refused(run: Run, words: tuple[str, ...]) -> None:
    """The message says what to give instead."""
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("llm-provisioning replay: ")


def test_an_unrecorded_trial_is_distinguished_from_an_unknown_one(run: Run, url: str) -> None:
    """A row without a trace, and neither row nor trace, give different messages."""
    save(url)
    store = ResultsStore.open(url)
    store.save_trial(a_result("refused"))
    store.close()
    assert "has a row but no recording" in run("replay", "refused")[2]
    assert "no stored trace named 'nobody'" in run("replay", "nobody")[2]


def test_an_imported_trace_is_separate_from_own_trials(run: Run, url: str, tmp_path: Path) -> None:
    """An exported and imported trace is marked, can be compared with the result in its file, and has no row among the
    trials.
    """
    save(url, by="0.0.9+core.old")
    path, there = tmp_path / "given.jsonl.gz", f"sqlite:///{tmp_path}/there.db"
    code, out, _ = run("trace", "export", "night-1", path)
    assert code == 0
    assert "origin simulated, with its result, computed by 0.0.9+core.old" in out
    assert run("replay", path)[0] == 1
    code, out, _ = run("trace", "import", path, "--store", there)
    trial_id = out.partition(":")[0]
    assert (code, trial_id[:9]) == (0, "imported-")
    assert run("trace", "import", path, "--store", there)[1].startswith(f"{trial_id}: already in the store")
    code, out, _ = run("replay", trial_id, "--store", there)
    assert code == 1
    assert "0.0.9+core.old ->" in out
    assert "imported" in run("trace", "list", "--store", there)[1]
    assert run("results", "--store", there)[1] == "There are no results.\n"
    again = tmp_path / "again.jsonl.gz"
    assert run("trace", "export", trial_id, again, "--store", there)[0] == 0
    assert again.read_bytes() == path.read_bytes()


def test_an_import_next_to_its_own_trial_is_reported(run: Run, url: str, tmp_path: Path) -> None:
    """The trial of that name is not changed."""
    save(url)
    path = tmp_path / "plain.jsonl"
    path.write_bytes(b"".join(map(encode_line, small_trace())))
    code, out, _ = run("trace", "import", path)
    assert code == 0
    assert "this store has another trial night-1" in out
    assert "without a result to compare with" in out
    assert run("replay", "night-1")[0] == 0
    listed = run("trace", "list")[1].splitlines()
    assert [("own trial" in line, "imported" in line) for line in listed].count((True, False)) == 1
    assert len(listed) == 2


def test_a_secret_is_neither_exported_nor_imported(run: Run, url: str, tmp_path: Path) -> None:
    """The exit code is 3, the message contains only the place, and nothing is written; --redact removes it."""
    log = {"received_at": small_trace()[-1]["received_at"], "resource": "pod-log", "path": "", "object": SECRET}
    store = ResultsStore.open(url)
    store.append_trace("leaky", encode_chunk([*small_trace(), log]))
    store.close()
    path = tmp_path / "leaky.jsonl.gz"
    code, _, err = run("trace", "export", "leaky", path)
    assert code == 3
    assert "line 10 (pod-log), object: an AWS access key" in err
    assert SECRET not in err
    assert not path.exists()
    assert run("trace", "export", "leaky", path, "--redact")[0] == 0
    assert run("trace", "import", path)[0] == 0
    path.write_bytes(encode_chunk([*small_trace(), log]))
    assert run("trace", "import", path)[0] == 3
    assert "1 values removed" in run("trace", "import", path, "--redact")[1]


def test_a_figure_of_a_trace(run: Run, tmp_path: Path) -> None:
    """The figure is an SVG with its own background, its phases and milestones, and the SIMULATED label."""
    trace, figure = tmp_path / "t.jsonl.gz", tmp_path / "t.svg"
    trace.write_bytes(encode_chunk(small_trace()))
    code, _, _ = run("replay", trace, "--svg", figure)
    told = figure.read_text(encoding="utf-8")
    assert code == 0
    assert told.startswith('<svg style="background:#ffffff')
    for word in ("SIMULATED", "operator_start", "head.ready", "endpoint_ready", "its bounds"):
        assert word in told, word


def test_an_unusable_store_or_figure_is_no_difference(run: Run, tmp_path: Path) -> None:
    """The exit code is 2 with one sentence, so that a script does not take it for 1."""
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    code, _, err = run("replay", "night-1", "--store", f"sqlite:///{tmp_path}/file/x.db")
    assert code == 2
    assert "does not exist" in err
    trace = tmp_path / "header.jsonl"
    trace.write_bytes(encode_line(small_trace()[0]))
    code, _, err = run("replay", trace, "--svg", tmp_path / "x.svg")
    assert code == 2
    assert "the trial has no milestone" in err


@pytest.mark.parametrize("words", [("replay",), ("trace", "export"), ("trace", "import"), ("trace", "list")])
def test_help_is_complete(words: tuple[str, ...]) -> None:
    """Every argument and option has a description, and the exit codes are listed if there are several."""
    parser = cli._parser()
    for word in words:
        (inner,) = [action for action in parser._actions if isinstance(action.choices, dict)]
        parser = inner.choices[word]
    assert [action.dest for action in parser._actions if not action.help] == []
    told = parser.format_help()
    assert ("exit code:" in told) == (words[-1] != "list")
    assert "--store URL" in told
