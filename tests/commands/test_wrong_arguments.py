"""A command that was called wrongly says so in one sentence with exit code 2, before it opens a store. It never exits 0
because a variable of a script was not set, a name is written in another case, or a reader of the output has ended.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trial_builders import a_result

from airflow_llm_provisioning.cli import main
from airflow_llm_provisioning.commands.streams import tolerant_streams
from airflow_llm_provisioning.gateways.store.results import ResultsStore

ARM = "eks-plain/phi3-2025/static/baseline"
OLD, NEW = "scheduled__2026-01-01", "scheduled__2026-01-02"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two runs whose ids begin alike, and a third one whose id differs from the second in its case."""
    found = f"sqlite:///{tmp_path_factory.mktemp('stores') / 'results.db'}"
    store = ResultsStore.open(found)
    for run_id, total_s in ((OLD, 120.0), (NEW, 100.0), (NEW.upper(), 300.0)):
        store.save_trials([a_result(f"{run_id}-{at}", run_id=run_id, total_s=total_s + at) for at in range(8)])
    store.close()
    return found


def code_of(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "needs either --max-seconds or --against"),
        (("--max-seconds", ""), "needs either --max-seconds or --against"),
        (("--max-seconds", "-5"), "--max-seconds of a gate is -5 and must be a number from 0 on"),
        (("--max-seconds", "nan"), "--max-seconds of a gate is nan and must be a number from 0 on"),
        (("--max-seconds", "1e999"), "--max-seconds of a gate is 1e999 and must be a number from 0 on"),
        (("--max-seconds", "0"), "--max-seconds of 0, which no trial keeps"),
        (("--max-seconds", "110 s"), "must be a number"),
        (("--max-seconds", "110,5"), "must be a number"),
        (("--max-seconds", "110%"), "--max-seconds of a gate is '110%' and must be a number"),
        (("--max-seconds", "1_10"), "must be a number"),
        (("--max-seconds", "\u0661\u0661\u0660"), "must be a number"),
        (("--max-seconds", "110", "--max-slower", "5"), "--max-slower without --against"),
        (("--max-seconds", "110", "--against", OLD), "not allowed with argument"),
        (("--against", OLD, "--max-slower", "-5"), "--max-slower of a gate is -5"),
        (("--against", OLD, "--max-slower", "five"), "--max-slower of a gate is 'five'"),
        (("--against", ""), "needs either --max-seconds or --against"),
        (("--against", "{{ prev }}"), "has a template that was not rendered: {{ prev }}"),
        (("--max-serving-slower", "-1"), "--max-serving-slower of a gate is -1"),
        (("--max-seconds", "110", "--arm", " "), "A gate needs --arm"),
        (("--max-seconds", "110", "--store", ""), "--store: it is empty"),
        (("--max-seconds", "110", "--store-conn", ""), "--store-conn: it is empty"),
    ],
)
def test_a_gate_that_is_asked_wrongly_is_not_done(
    url: str, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """2, with the option's name; there is no verdict on standard output."""
    assert code_of("gate", "--store", url, "--run", NEW, "--arm", ARM, *words) == 2
    out, err = capsys.readouterr()
    assert told in err.splitlines()[-1]
    assert out == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--run", ""), "There is no DAG run ''"),
        (("--run", "scheduled__"), "There is no DAG run 'scheduled__': did you mean"),
        (("--run", NEW[1:]), f"did you mean {NEW!r}?"),
        (("--run", NEW.title()), f"did you mean {NEW.upper()!r}?"),
        (("--arm", ARM.upper()), f"has no arm {ARM.upper()!r}: did you mean {ARM!r}?"),
        (("--arm", f"{ARM}/"), f"did you mean {ARM!r}?"),
        (("--dag", ""), "has no trials of DAG ''"),
        (("--dag", "A_DAG"), "has no trials of DAG 'A_DAG'"),
        (("--experiment", "Made-up"), "has no trials of experiment 'Made-up'"),
    ],
)
def test_what_the_store_does_not_have_is_not_judged(
    url: str, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """3: a name that is nearly right, of another case, or the beginning of two. The sentence names it."""
    assert code_of("gate", "--store", url, "--arm", ARM, "--max-seconds", "500", *words) == 3
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("results", "--since", "soon"), "--since 'soon' is no date and no instant"),
        (("results", "--since", ""), "--since '' is no date and no instant"),
        (("results", "--since", "0001-01-01T00:00:00+14:00"), "is before the year 1 or after 9999"),
        (("results", "--until", "9999-12-31T23:59:59-14:00"), "is before the year 1 or after 9999"),
        (("results", "--since", "2026-02-01", "--until", "2026-01-01"), "no trial is between them"),
        (("results", "--since", "2026-01-01", "--until", "2026-01-01T01:00:00+01:00"), "no trial is between them"),
        (("results", "--where", "status=Failed"), "did you mean 'failed'?"),
        (("results", "--where", "Cloud=eks"), "did you mean 'cloud'?"),
        (("results", "--limit", "1.5"), "'1.5' is no whole number"),
        (("results", "--what", "trials", "--limit", "9" * 20), "is too large"),
        (("results", "--store", ""), "--store: it is empty"),
        (("report", "--since", "soon"), "--since 'soon' is no date and no instant"),
        (("history", "--since", "soon"), "--since 'soon' is no date and no instant"),
        (("history", "--nights", "-3"), "-3 is not 1 or more"),
        (("history", "--why", "known"), "--why goes with --acknowledge"),
        (("what-if", "x", "--add", "bake_packages", "--since", "soon"), "--since 'soon' is no date and no instant"),
        (("store", "check", ""), "it is empty"),
        (("store", "prune", "x.db", "--older-than", "old"), "old is no number of days: write 90"),
        (("store", "prune", "x.db", "--max-size", "9" * 400), "is more than any disk holds"),
        (("reap", "x.yaml", "--wait", "nan"), "nan is no number of seconds"),
        (("reap", "x.yaml", "--wait", "-1"), "-1 is no number of seconds"),
        (("reap", "x.yaml", "--wait", "soon"), "'soon' is no number of seconds"),
        (("plan", "x.yaml", "--time-limit", "inf"), "inf is no number of seconds"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_opened(
    words: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The store that is named does not exist, and that is not what is said."""
    given = () if words[0] in ("store", "reap", "plan") or "--store" in words else ("--store", f"{tmp_path}/no.db")
    assert code_of(*words, *given) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("run_id", ["scheduled__", NEW[1:], NEW.title()])
def test_a_run_that_does_not_exist_is_no_empty_table(url: str, run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped id is told with the nearest one; of a run that exists a filter may leave nothing."""
    assert code_of("results", "--store", url, "--run", run_id) == 2
    assert f"The results store has no DAG run {run_id!r}: did you mean " in capsys.readouterr().err
    assert code_of("results", "--store", url, "--run", NEW, "--where", "cloud=gke") == 0


def buffered(writer: int) -> Any:
    return io.BufferedWriter(io.FileIO(writer, "w"))


def unbuffered(writer: int) -> Any:
    return io.FileIO(writer, "w")


@pytest.fixture(params=[buffered, unbuffered])
def without_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both streams lead into pipes whose readers have ended; also as Python opens them with PYTHONUNBUFFERED."""
    opened = []
    for name in ("stdout", "stderr"):
        reader, writer = os.pipe()
        os.close(reader)
        opened.append(io.TextIOWrapper(request.param(writer), encoding="utf-8"))
        monkeypatch.setattr(sys, name, opened[-1])
    yield
    for stream in opened:
        stream.close()


@pytest.mark.usefixtures("without_reader")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("gate", "--run", NEW, "--arm", ARM, "--max-seconds", "90"), 1),
        (("gate", "--run", NEW, "--arm", ARM, "--max-seconds", "110"), 0),
        (("gate", "--run", "never", "--arm", ARM, "--max-seconds", "110"), 3),
        (("results", "--what", "trials"), 0),
        (("results", "--run", "never"), 2),
        (("replay", "never"), 2),
    ],
)
def test_a_reader_that_ended_changes_no_exit_code(url: str, words: tuple[str, ...], code: int) -> None:
    """`| head -0`, of the answer and of the sentences beside it."""
    assert code_of(*words, "--store", url) == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to write to")
@pytest.mark.parametrize("words", [("--help",), ("--version",), ("gate", "--help")])
@pytest.mark.parametrize("buffering", [-1, 0])
def test_help_on_a_full_disk_is_told(
    words: tuple[str, ...], buffering: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As what every command writes, also where Python does not buffer."""
    raw = Path("/dev/full").open("wb", buffering)  # noqa: SIM115 - closing it fails, as writing to it does
    full = io.TextIOWrapper(raw, write_through=not buffering)
    monkeypatch.setattr(sys, "stdout", full)
    assert code_of(*words) == 2
    assert "No space left on device" in capsys.readouterr().err
    full.detach()
    with contextlib.suppress(OSError):
        raw.close()


def test_a_closed_stream_is_no_traceback(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`>&- 2>&-`: Python has no streams then."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert code_of("gate", "--store", url, "--run", NEW, "--arm", ARM, "--max-seconds", "90") == 1


def test_what_is_written_arrives_until_the_reader_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that is there gets everything, in the encoding of the stream, and half a character as an escape."""
    reader, writer = os.pipe()
    with io.TextIOWrapper(buffered(writer), encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with tolerant_streams():
            sys.stdout.write("Stra\u00dfe \ud800 ")
            sys.stdout.flush()
            sys.stdout.buffer.write(b"PAR1")
            sys.stdout.flush()
        assert sys.stdout is stream
    assert os.read(reader, 100) == b"Stra\\xdfe \\ud800 PAR1"
    os.close(reader)
