"""The steps of the engine that decided: of newer versions, of several ranks, and steps that are not understood."""

import copy
import json
import re
from typing import Any

import pytest
from recording_changes import Lines, applications, changed, recorded

from airflow_llm_provisioning.core.timing.analysis import Analysis, analyse

STAMPED = "(EngineCore pid=390) INFO 11-22 07:28:{} [{}] {}"
TOGETHER = "torch.compile and initial profiling/warmup run together took 1.90 s in total"
OLDER = "torch.compile took 1.90 s in total"
FIRST_RUN = "Initial profiling/warmup run took 0.90 s"


def engine_log(*middle: tuple[int, str], rank: str = "EngineCore pid=390", later_s: int = 0) -> str:
    """Return the log of an engine that had loaded its model at 45 s and captured its graphs at 48 s."""
    lines = [
        (42, "Starting to load model acme/tiny..."),
        (44, "Time spent downloading weights for acme/tiny: 1.900000 seconds"),
        (45, "Loading weights took 0.80 seconds"),
        (45, "Model loading took 1.12 GiB memory and 3.0 seconds"),
        *middle,
        (48, "Graph capturing finished in 1 secs, took 0.04 GiB"),
        (48, "init engine (profile, create kv cache, warmup model) took 3.2 s (compilation: 1.3 s)"),
    ]
    return "".join(STAMPED.format(at + later_s, "a.py:1", text) + "\n" for at, text in lines).replace(
        "EngineCore pid=390", rank
    )


def with_engine(*logs: tuple[str, str], lines: Lines | None = None) -> Lines:
    """Return `static` with the output files of an engine in place of the stand-in's lines: (file name, text)."""

    def without_stand_in(line: dict[str, Any]) -> None:
        if line["filename"].startswith("serve/replica_"):
            kept = [text for text in line["object"].splitlines(keepends=True) if "initializing" in text]
            line["object"] = "".join(kept)

    lines = changed(lines or recorded("static"), "ray-log-file", without_stand_in)
    replica = next(
        line for line in lines if line["resource"] == "ray-log-file" and line["filename"].startswith("serve/replica_")
    )
    return [*lines, *({**copy.deepcopy(replica), "filename": name, "object": text} for name, text in logs)]


def analysed(*middle: tuple[int, str]) -> Analysis:
    return analyse(with_engine(("worker-abc-01000000-114.out", engine_log(*middle))))


def phases(analysis: Analysis) -> dict[str, float]:
    names = ("compile", "engine_profile", "graph_capture", "load", "weight", "engine")
    return {
        phase.name: round(phase.duration_s) for phase in analysis.phases if any(part in phase.name for part in names)
    }


def strange(analysis: Analysis) -> list[str]:
    return [str(flag) for flag in analysis.flags if flag.kind == "not_understood"]


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        ([(47, TOGETHER)], {"compile": 2, "graph_capture": 1}),
        ([(47, OLDER)], {"compile": 2, "graph_capture": 1}),
        ([(46, OLDER), (47, FIRST_RUN)], {"compile": 1, "engine_profile": 1, "graph_capture": 1}),
        ([(46, "Directly load AOT compilation from path /c"), (47, FIRST_RUN)], {"compile": 1, "engine_profile": 1}),
        # A draft model is compiled after the model.
        ([(46, OLDER), (47, OLDER)], {"compile": 2, "graph_capture": 1}),
        # Without a line about a compilation none occurred.
        ([(46, "Available KV cache memory: 34.66 GiB")], {"graph_capture": 3}),
    ],
)
def test_the_end_of_the_compilation_is_known_in_every_version(
    middle: list[tuple[int, str]], expected: dict[str, float]
) -> None:
    """Since 0.12 vLLM times the compilation alone or with the first run, and the first run beside it."""
    analysis = analysed(*middle)
    assert expected.items() <= phases(analysis).items()
    assert not strange(analysis)


@pytest.mark.parametrize(
    ("middle", "told"),
    [
        ([(47, "The compiler was done after 1.90 s")], "The compiler was done after 1.90 s"),
        ([(46, "Dynamo bytecode transform time: 0.90 s"), (47, "Finished in 1.9 seconds")], "Finished in 1.9 seconds"),
        ([(46, "Compiling a graph for compile range (1, 8192) takes 13.29 s")], "without its end"),
    ],
)
def test_a_step_that_is_not_understood_joins_its_neighbour(middle: list[tuple[int, str]], told: str) -> None:
    """Something took time between the loaded model and the graphs: the phase has both names, and the flag the line."""
    analysis = analysed(*middle)
    assert phases(analysis)["compile+graph_capture"] == 3
    (flag,) = strange(analysis)
    assert told in flag
    assert "compile and graph_capture are not separated" in flag


def test_an_unknown_line_about_graphs_joins_what_follows() -> None:
    """The kind is the same for every step: here the graphs, and with them the rest of the engine's start."""
    text = engine_log((46, OLDER)).replace("Graph capturing finished in 1 secs, took 0.04 GiB", "Graphs: 1.2 s")
    analysis = analyse(with_engine(("worker-abc-01000000-114.out", text)))
    assert phases(analysis)["graph_capture+engine_init"] == 2
    assert "graph_capture and engine_init are not separated" in strange(analysis)[0]


def test_an_engine_of_which_nothing_is_understood_names_all_its_steps() -> None:
    """Another engine's dated lines state durations; no step of it is said to be absent."""
    lines = ["2026-11-22 07:28:43 INFO tokenizer was ready in 1.2 s", "2026-11-22 07:28:46 INFO weights: 2.5 s"]
    analysis = analyse(with_engine(("worker-abc-01000000-114.out", "\n".join(lines))))
    (joined,) = [name for name in phases(analysis) if "compile" in name]
    assert joined == ("engine_start+weight_download+model_load+compile+graph_capture+engine_init+replica_finish")
    assert strange(analysis)


def test_a_step_ends_with_its_last_rank() -> None:
    """With tensor parallelism each rank writes a log, or lines with its own prefix, and the slowest one decides."""
    own = "worker-abc-01000000-114.out"
    middle = (46, OLDER)
    fast = engine_log(middle, rank="Worker_TP0 pid=1")
    slow = engine_log(middle, rank="Worker_TP1 pid=2").replace("07:28:45 [a.py:1] Model", "07:28:46 [a.py:1] Model")
    slow = slow.replace("07:28:46 [a.py:1] torch", "07:28:47 [a.py:1] torch")
    told = {"model_load": 2, "compile": 1, "graph_capture": 1}
    for logs in ([(own, fast + slow)], [(own, slow), ("worker-def-01000000-115.out", fast)]):
        found = phases(analyse(with_engine(*logs)))
        assert told.items() <= found.items(), found


def test_a_rotated_file_is_of_the_same_rank() -> None:
    """The model's end is in the older file, a draft model's in the newer one: the rank's first counts, as in one."""
    whole = engine_log((46, "Model loading took 0.20 GiB memory and 0.3 seconds"), (47, OLDER))
    head, cut, tail = whole.partition("(EngineCore pid=390) INFO 11-22 07:28:46")
    name = "worker-abc-01000000-114.out"
    one, two = with_engine((name, whole)), with_engine((f"{name}.1", head), (name, cut + tail))
    assert phases(analyse(two)) == phases(analyse(one))
    assert phases(analyse(two))["model_load"] == 1


def test_an_earlier_attempt_on_the_same_pod_is_left_out() -> None:
    """A replica that crashed while it loaded left a file; its lines are older than the replica that decided."""
    old = engine_log((47, OLDER), later_s=-20)
    now = ("worker-abc-01000000-114.out", engine_log((47, OLDER)))
    assert phases(analyse(with_engine(now, ("worker-zzz-01000000-99.out", old)))) == phases(analyse(with_engine(now)))


def test_another_replica_on_the_same_pod_is_left_out() -> None:
    """Two replicas may share a pod. Serve names the process of each, and Ray's file has it in its name."""

    def second(line: dict[str, Any]) -> None:
        for application in applications(line).values():
            for deployment in application["deployments"].values():
                for replica in deployment["replicas"][:1]:
                    deployment["replicas"].insert(0, {**replica, "replica_id": "second", "pid": 77, "state": "RUNNING"})

    lines = changed(recorded("static"), "serve-rest", second)
    now = ("worker-abc-01000000-114.out", engine_log((47, OLDER)))
    other = ("worker-def-01000000-77.out", engine_log((47, OLDER), later_s=1))
    assert phases(analyse(with_engine(now, other, lines=lines))) == phases(analyse(with_engine(now)))


def as_json(text: str) -> str:
    """Return the lines of a Serve log as Serve writes them with RAY_SERVE_LOG_ENCODING=JSON (ray 2.60)."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(r"([A-Z]+) (\S+ \S+) (\S+) (\S+) (?:\S+ )?-- (.*)", line)
        assert match, line
        level, stamp, component, identity, message = match.groups()
        told = {"levelname": level, "asctime": stamp, "component_name": component, "component_id": identity}
        found.append(json.dumps({**told, "message": message}))
    return "\n".join(found) + "\n"


@pytest.mark.parametrize("name", ["static", "node-late", "dynamic"])
def test_serves_json_logs_give_the_same_numbers(name: str) -> None:
    """The encoding of Serve's logs changes no phase."""

    def encode(line: dict[str, Any]) -> None:
        if line["filename"].startswith(("serve/controller", "serve/replica")) and line["object"].strip():
            line["object"] = as_json(line["object"])

    lines = recorded(name)
    assert [phase.as_dict() for phase in analyse(changed(lines, "ray-log-file", encode)).phases] == [
        phase.as_dict() for phase in analyse(lines).phases
    ]


@pytest.mark.parametrize("name", ["static", "node-late", "dynamic", "failed"])
def test_nothing_in_the_recordings_is_not_understood(name: str) -> None:
    """The stand-in of the recordings writes all of its steps."""
    assert not strange(analyse(recorded(name)))
