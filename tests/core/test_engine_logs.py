"""Log lines of several versions become the same markers; unknown lines are counted."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from airflow_llm_provisioning.core.timing.engine_logs import NOT_UNDERSTOOD, read_logs
from airflow_llm_provisioning.core.trace import LogText

READ_AT = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
SUBMITTED_AT = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def log(text: str, read_at: datetime = READ_AT) -> LogText:
    return LogText(read_at, "worker-1.out", "10.0.0.2", "", "", text)


@pytest.mark.parametrize(
    ("line", "marker"),
    [
        ("INFO 05-04 12:10:00 llm_engine.py:174] Initializing an LLM engine (v0.5.4) with: m", "engine_starting"),
        ("INFO 05-04 12:10:01 model_runner.py:720] Starting to load model m...", "load_started"),
        ("INFO 05-04 12:10:09 model_runner.py:732] Loading model weights took 7.1 GB", "model_loaded"),
        ("INFO 05-04 12:10:30 model_runner.py:1225] Graph capturing finished in 20 secs.", "graphs_captured"),
        ("INFO 05-04 12:10:09 [weight_utils.py:308] Time spent downloading weights for m: 8.1 s", "weights_downloaded"),
        ("INFO 05-04 12:10:09 [gpu_model_runner.py:2007] Model loading took 7.1 GiB and 9.5 seconds", "model_loaded"),
        ("INFO 05-04 12:10:09 [monitor.py:34] torch.compile takes 19.44 s in total", "compiled"),
        (
            "(EngineCore pid=77) INFO 05-04 12:11:00 [core.py:218] init engine (profile, create kv cache) took 33.8 s",
            "engine_ready",
        ),
        ("\x1b[36m(EngineCore pid=7)\x1b[0m INFO 05-04 12:10:09 [m.py:34] torch.compile took 9 s in total", "compiled"),
        ("(EngineCore_DP0 pid=2) INFO 05-04 12:10:09 [monitor.py:34] torch.compile takes 5.1 s in total", "compiled"),
        (
            ("(EngineCore pid=3) INFO 05-04 12:10:16 [m.py:48] torch.compile and initial profiling/warmup run "
            "together took 55.27 s in total"),
            "compiled",
        ),
        ("INFO 05-04 12:10:16 monitor.py:14] graph compilation takes 20.10 s in total", "compiled"),
        ("(EngineCore pid=1) INFO 05-04 12:10:20 [m.py:76] Initial profiling/warmup run took 52.92 s", "profiled"),
        ("INFO 05-04 12:10:20 worker.py:267] Memory profiling takes 0.57 seconds", "profiled"),
        ("INFO 05-04 12:10:09 weight_utils.py:254] Time took to download weights for m: 8.1 s", "weights_downloaded"),
        (
            ("(Worker pid=1) (Worker_TP0 pid=1) INFO 05-04 12:10:39 [g.py:4] Model loading took 26.37 "
            "GiB memory and 6.007381 seconds"),
            "model_loaded",
        ),
        (
            "(RayWorkerWrapper pid=263, ip=10.0.16.95) INFO 05-04 12:10:39 [m.py:4] Model loading took 7.5 GiB and 3 s",
            "model_loaded",
        ),
        ("(EngineCore pid=1) INFO 05-04 12:10:39 [c.py:9] Initializing a V1 LLM engine (v0.33.0)", "engine_starting"),
        (
            ("(EngineCore pid=1) INFO 05-04 12:10:48 [c.py:1] init engine (profile, create kv cache, warmup model) "
            "took 3.2 s (compilation: 1.3 s)"),
            "engine_ready",
        ),
        (
            ('{"levelname": "INFO", "asctime": "2026-05-04 12:10:09,123", "deployment": "llm_LLM", "replica": "x", '
            '"message": "replica.py:855 - Started initializing replica."}'),
            "replica_initialising",
        ),
        (
            ('{"asctime": "2026-05-04 05:10:09,123", "levelname": "INFO", "message": "Deploying new app \'llm\'.", '
            '"component_name": "controller", "component_id": "435", "timestamp_ns": 1777896609123000000}'),
            "controller_deploying",
        ),
        (
            '{"timestamp": "2026-05-04T12:10:30+00:00", "level": "INFO", "msg": "Starting to load model m..."}',
            "load_started",
        ),
        ("2026-05-04 12:10:30.123 | INFO | vllm.v1 | Starting to load model m...", "load_started"),
        ("[2026-05-04T12:10:30Z] INFO Starting to load model m...", "load_started"),
        ("INFO 2026-05-04 12:10:09,123 controller 414 -- Adding 1 replica to Deployment(n).", "controller_adding"),
        (
            "INFO 2026-05-04 12:10:09,123 controller 414 deployment_state.py:1598 - Adding 1 replica to deployment L.",
            "controller_adding",
        ),
        (
            "2026-05-04T12:10:09.634970446Z 2026-05-04 12:10:09,634\tINFO e.py:77 -- Adding 1 node(s) of type g.",
            "autoscaler_adding",
        ),
    ],
)  # fmt: skip
def test_every_dialect_is_parsed(line: str, marker: str) -> None:
    """One line of each engine and Serve version gives its marker and a stamp within that minute."""
    reading = read_logs([log(line)], SUBMITTED_AT)
    assert [entry.marker for entry in reading.entries] == [marker]
    assert timedelta(minutes=10) <= reading.entries[0].stamp.at - SUBMITTED_AT <= timedelta(minutes=11)
    assert reading.unknown_lines == 0


CAPTURED = "INFO 05-04 12:10:51 [gpu_model_runner.py:45] Graph capturing finished in 9 secs, took 0.66 GiB"
LOADED = "INFO 05-04 12:10:51 [gpu_model_runner.py:45] Model loading took 3.3 GiB and 1.6 seconds"
RANK = "(Worker_TP1 pid=2) "


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # A progress bar on the same stream had no end of line yet.
        (f"Capturing CUDA graphs (decode, FULL): 100%|##| 51/51 [00:03<00:00, 15.7it/s]{RANK}{CAPTURED}",
         [("graphs_captured", 51, "Worker_TP1 pid=2")]),
        (f"Capturing CUDA graph shapes: 100%|##| 35/35 [00:20<00:00, 1.7it/s]{CAPTURED}",
         [("graphs_captured", 51, "")]),
        # Two ranks wrote into one line.
        (f"(Worker_TP0 pid=1) INFO 05-04 12:10:50 [a.py:1] Loading weights took 1.1 seconds{RANK}{LOADED}",
         [("shards_loaded", 50, "Worker_TP0 pid=1"), ("model_loaded", 51, "Worker_TP1 pid=2")]),
        (f"2026-05-04T12:10:52.1Z (Worker pid=1) INFO 05-04 12:10:50 [a.py:1] Starting to load model m{RANK}{LOADED}",
         [("load_started", 50, "Worker pid=1"), ("model_loaded", 52, "Worker_TP1 pid=2")]),
        # Colours: with a reset of their own, around words, and of which a collector kept the end only.
        (f"\x1b[1;36m(EngineCore_DP0 pid=279)\x1b[0;0m {LOADED}", [("model_loaded", 51, "EngineCore_DP0 pid=279")]),
        (f"\x1b[2K\x1b[1G{LOADED}", [("model_loaded", 51, "")]),
        (f"[36m(ServeReplica:llm:LLM pid=1)[0m {LOADED}", [("model_loaded", 51, "ServeReplica:llm:LLM pid=1")]),
        # The names of pods, stamps of a kubelet outside UTC, and of CRI.
        (f"[pod/llm-gpu-worker-x/ray-worker] {RANK}{LOADED}", [("model_loaded", 51, "Worker_TP1 pid=2")]),
        (f"2026-05-04T21:10:52.5+09:00 {RANK}{LOADED}", [("model_loaded", 52, "Worker_TP1 pid=2")]),
        # A container runtime or a collector of logs wrapped the line.
        (f'{{"log":"{RANK}{LOADED}\\n","stream":"stderr","time":"2026-05-04T12:10:52.6Z"}}',
         [("model_loaded", 52, "Worker_TP1 pid=2")]),
        (f'{{"message":"{RANK}{LOADED}","asctime":"2026-05-04 12:10:52,600"}}',
         [("model_loaded", 51, "Worker_TP1 pid=2")]),
        # Ray 2.9.
        ("INFO 2026-05-04 12:10:51,118 controller 41 a.py:16 - Replica llm#LLM#aXyZ started successfully on node 4af0.",
         [("controller_started", 51, "")]),
        # Other engines, and waits that are no step.
        ("2026-05-04T12:10:51.123456Z  INFO shard-manager: text_generation_launcher: Shard ready in 12.3s rank=0",
         [(NOT_UNDERSTOOD, 51, "")]),
        ("[2026-05-04 12:10:51 TP0] Capture cuda graph end. Time elapsed: 9.42 s. mem usage=1.20 GB.",
         [(NOT_UNDERSTOOD, 51, "")]),
        ("[2026-05-04 12:10:51 DP0 TP0 EP0] Load weight end. elapsed=4.92 s, type=LlamaForCausalLM",
         [(NOT_UNDERSTOOD, 51, "")]),
        # TensorRT-LLM writes the month first.
        ("[05/04/2026-12:10:51] [TRT-LLM] [RANK 0] [I] Load engine takes: 3.2 sec", [(NOT_UNDERSTOOD, 51, "")]),
        ("[05/04/2026-12:10:51] [TRT-LLM] [I] Set dtype to float16.", []),
        ("[13/04/2026-12:10:51] [TRT-LLM] [I] Load engine takes: 3.2 sec", []),
        ("INFO 05-04 12:10:51 [shm_broadcast.py:1] No available shared memory broadcast block found in 60 s.", []),
        ("INFO 05-04 12:10:51 [utils.py:1] Waiting for 2 local core engine proc(s) to start for 10 s.", []),
    ],
)  # fmt: skip
def test_lines_as_streams_and_collectors_make_them(line: str, expected: list[tuple[str, int, str]]) -> None:
    """Each step has the instant and the process that its own line states."""
    entries = read_logs([log(line)], SUBMITTED_AT).entries
    assert [(one.marker, one.stamp.at.second, one.process) for one in entries] == expected
    assert all((one.stamp.at - SUBMITTED_AT) < timedelta(minutes=11) for one in entries)


def test_a_replica_of_an_older_ray_has_its_tag_as_id() -> None:
    """Ray 2.9 names it in its controller's log and in the name of the replica's log."""
    line = (
        "INFO 2026-05-04 12:10:51,118 controller 41 a.py:16 - Replica llm#LLM#aXyZ started successfully on node 4af0."
    )
    assert [one.replica_id for one in read_logs([log(line)], SUBMITTED_AT).entries] == ["llm#LLM#aXyZ"]


def test_unknown_lines_are_counted_and_ignored() -> None:
    """A line of no dialect changes only the count, also one of another day and one that looks like JSON."""
    text = 'something else\n\nTraceback\n2020-01-01 00:00:00 built on\n{"a": 1}\n{"message": "no stamp"}\n{broken\n'
    reading = read_logs([log(text)], SUBMITTED_AT)
    assert (reading.entries, reading.unknown_lines, reading.notes) == ((), 6, ())


@pytest.mark.parametrize(
    ("line", "strange"),
    [
        ("INFO 05-04 12:10:47 [c.py:1] Compilation of all graphs ended after 12.3 s", True),
        ("INFO 05-04 12:10:47 [c.py:1] Model compilation is complete", True),
        ("2026-05-04 12:10:47 | INFO | the graphs were built in 12 seconds", True),
        ("INFO 05-04 12:10:47 [w.py:357] Available KV cache memory: 34.66 GiB", False),
        ("INFO 05-04 12:10:47 [k.py:1] Maximum concurrency for 16,384 tokens per request: 15.40x", False),
        ("INFO 05-04 12:10:47 [w.py:1] Loading weights took 2.72 seconds", False),
        ("INFO 2026-05-04 12:10:47,123 controller 1 -- Something took 3 s", False),
        ("without a stamp the step took 12.3 s", False),
    ],
)
def test_a_timed_line_that_is_not_understood_is_kept(line: str, strange: bool) -> None:
    """A dated line of an engine that states a duration or an end stands for a step of it."""
    markers = [entry.marker for entry in read_logs([log(line)], SUBMITTED_AT).entries]
    assert (NOT_UNDERSTOOD in markers) is strange


def test_a_log_across_new_year_gets_the_right_year() -> None:
    """A line of vLLM has no year; the year nearest to the reading is used."""
    read_at = datetime(2027, 1, 1, 0, 5, tzinfo=UTC)
    reading = read_logs(
        [log("INFO 12-31 23:59:58 a.py:1] Starting to load model m", read_at)], read_at - timedelta(hours=1)
    )
    assert reading.entries[0].stamp.at == datetime(2026, 12, 31, 23, 59, 58, tzinfo=UTC)


def test_a_container_that_does_not_run_in_utc_is_shifted_and_noted() -> None:
    """A log in another time zone is read in the zone that puts it between submission and reading, with a note."""
    reading = read_logs([log("INFO 05-04 05:10:00 a.py:1] Starting to load model m")], SUBMITTED_AT)
    assert reading.entries[0].stamp.at == datetime(2026, 5, 4, 12, 10, tzinfo=UTC)
    assert reading.notes
    assert "log_time" in reading.notes[0]


def test_stamps_that_fit_no_zone_are_not_used() -> None:
    """A log of another day is not used, with a note."""
    reading = read_logs([log("INFO 05-01 05:10:00 a.py:1] Starting to load model m")], SUBMITTED_AT)
    assert reading.entries == ()
    assert reading.notes


@pytest.mark.parametrize(
    ("bar", "took_s"),
    [
        ("Loading safetensors checkpoint shards: 100% Completed | 2/2 [00:03<00:00,  1.27it/s]", [3]),
        ("Loading safetensors checkpoint shards: 100% Completed | 191/191 [1:02:03<00:00,  2.36s/it]", [3723]),
        ("Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01,  1.10s/it]", []),
    ],
)
def test_a_progress_bar_gives_its_duration(bar: str, took_s: list[int]) -> None:
    """The bar has no stamp. Only a finished bar gives the loading time of the weight files, and its lines are no
    unknown lines.
    """
    reading = read_logs([log(f"{bar}\n")], SUBMITTED_AT)
    assert [took for _, took in reading.shards_s] == took_s
    assert reading.unknown_lines == 0


@pytest.mark.parametrize(
    "piece",
    ["Replica(id='", "Replica ", "compile ", "init engine (", "Imported and built app '", "profiling (1 ", "x(a) ("],
)
def test_a_line_as_long_as_a_log_is_read_in_time(piece: str) -> None:
    """The content of a log is anyone's: no line makes the reading slower than its length."""
    text = f"INFO 05-04 12:10:09 [a.py:1] {piece * (256_000 // len(piece))}"
    begun = time.process_time()
    read_logs([log(text), log(text.replace("INFO 05-04", "2026-05-04")), log("{" + text)], SUBMITTED_AT)
    assert time.process_time() - begun < 5
