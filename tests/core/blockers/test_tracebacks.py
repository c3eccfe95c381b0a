"""The cause is found in logs of every dialect, and before what other ranks say of it."""

import json
from typing import Any

import pytest
from blocker_lines import line

from airflow_llm_provisioning.core.blockers import Blockers
from airflow_llm_provisioning.core.blockers.causes import advice_for
from airflow_llm_provisioning.core.blockers.tracebacks import root_error_of

CACHE = "ValueError: No available memory for the cache blocks."
TRACE = f'Traceback (most recent call last):\n  File "/x.py", line 3, in f\n    raise x\n{CACHE}'
RESET = "ConnectionResetError: [Errno 104] Connection reset by peer"


def logged(**fields: Any) -> str:
    quiet = {"levelname": "INFO", "message": "ValueError: not one, at this level", "asctime": "2026-05-04 12:00:00"}
    return "\n".join(json.dumps(one) for one in (quiet, {"asctime": "2026-05-04 12:00:01", **fields}))


@pytest.mark.parametrize(
    ("log", "error"),
    [
        (logged(levelname="ERROR", message="Exception in callback", exc_text=TRACE), CACHE),
        (logged(levelname="ERROR", message=TRACE, exc_text=None), CACHE),
        (logged(level="error", msg="EngineCore failed to start.", exc_info=TRACE), CACHE),
        (logged(severity="CRITICAL", message="the device is lost"), "the device is lost"),
        (logged(levelname="WARNING", message=TRACE), ""),
        ("{not json\n" + TRACE, CACHE),
        ("[rank0]: Traceback (most recent call last):\n[rank0]:   File \"x\", line 1\n[rank0]: " + CACHE, CACHE),
        (f"2026-05-04 12:00:01.123 | ERROR    | vllm.engine:run:1 - {CACHE}", CACHE),
        ("[2026-05-04 12:00:01,123 C 1 4] gcs_server.cc:99:  Check failed: bind Address already in use",
         "Check failed: bind Address already in use"),
        ("[2026-05-04 12:00:01,123 I 1 4] (raylet) main.cc:9: fine", ""),
        ("terminate called after throwing\n  what():  CUDA error: an illegal memory access was encountered",
         "what(): CUDA error: an illegal memory access was encountered"),
        ("Fatal Python error: Bus error\n\nThread 0x1 (most recent call first):", "Fatal Python error: Bus error"),
        ("usage: vllm serve [-h]\nvllm serve: error: unrecognized arguments: --max-modl-len 1",
         "vllm serve: error: unrecognized arguments: --max-modl-len 1"),
        (f"  + Exception Group Traceback:\n  | E: x\n  +-+---- 1 ----\n    | {CACHE}\n    +-----", CACHE),
        (f"{CACHE}\n[rank0]:[W1129 15:00:09 NCCL.cpp:1496] Warning: x\n/usr/a.py:254: UserWarning: y", CACHE),
        ("m.GatedRepoError: 403 Client Error. (Request ID: 1)\n\nAccess to model m is restricted.\n\nINFO bye",
         "m.GatedRepoError: 403 Client Error. (Request ID: 1) Access to model m is restricted."),
        ('Traceback (most recent call last):\n  File "x.so"\nNotImplementedError', 'NotImplementedError: File "x.so"'),
        (f"{TRACE}\nTraceback (most recent call last):\n{RESET}", CACHE),
        (f"Traceback (most recent call last):\n{RESET}", RESET),
        (logged(levelname="ERROR", message="x" * 200_000), ""),
    ],
)  # fmt: skip
def test_the_cause_is_found_in_every_dialect(log: str, error: str) -> None:
    """Text or JSON, with the prefixes of ranks, loggers and exception groups, and the last words of a native crash; not
    what is logged after it, nor an error that only follows another.
    """
    assert root_error_of(log) == error


def test_the_rank_that_failed_first_is_named_before_those_that_lost_it() -> None:
    """Each rank of a tensor or pipeline parallel engine has its own log; most say only that a peer is gone."""
    blockers = Blockers("a", "n")
    said = {"worker-1.out": RESET, "worker-2.err": "torch.OutOfMemoryError: CUDA out of memory.", "worker-3.out": RESET}
    for name, error in said.items():
        blockers.feed(line(70, "ray-log-file", error, None, filename=name, node_ip="10.0.0.1"))
    found = blockers.engine_error()
    assert found is not None
    assert found[1] == "torch.OutOfMemoryError: CUDA out of memory."
    assert "worker-2.err" in found[0]


def test_rays_own_end_of_a_process_is_no_matter_of_the_gpu() -> None:
    """Ray ends a process where the memory of the node is used up."""
    told = "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory."
    assert "memory of that pod" in advice_for(told, "engine")
    assert "GPU with more memory" in advice_for("torch.OutOfMemoryError: CUDA out of memory.", "engine")


WORKER = "(Worker_TP1 pid=300) ERROR 11-29 15:00:09 [multiproc_executor.py:719] "
PANIC = "thread 'main' panicked at src/x.rs:10:5:"
CORE = "(EngineCore pid=200) ERROR 11-29 15:00:10 [core.py:1] "


def test_a_message_ends_where_another_process_goes_on() -> None:
    """Its next lines have another prefix; taken into the message, their words hide the cause."""
    rank = (
        "WorkerProc failed to start.", "Traceback (most recent call last):", '  File "/x.py", line 1',
        "torch.AcceleratorError: CUDA error: invalid device ordinal", "Compile with TORCH_USE_CUDA_DSA.",
    )  # fmt: skip
    core = "EngineCore failed to start.", "Exception: WorkerProc initialization failed. See root cause above."
    log = "\n".join([*(WORKER + part for part in rank), *(CORE + part for part in core)])
    found = root_error_of(log)
    assert found == "torch.AcceleratorError: CUDA error: invalid device ordinal Compile with TORCH_USE_CUDA_DSA."
    assert root_error_of(f"{WORKER}WorkerProc failed to start.\n{CORE}EngineCore failed to start.\n") == ""
    plain = "ERROR 2026-05-04 12:00:00,123 llm_LLM abc -- OSError: the first line\nand the second\n"
    assert root_error_of(plain) == "OSError: the first line and the second"


@pytest.mark.parametrize(
    ("log", "error"),
    [
        (f"{PANIC}\ncalled `unwrap()` on an `Err` value\nnote: run with `RUST_BACKTRACE=1` environment variable\n",
         f"{PANIC} called `unwrap()` on an `Err` value"),
        ("panic: index out of range [3]\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:10 +0x1d\n",
         "panic: index out of range [3]"),
    ],
)  # fmt: skip
def test_a_panic_is_told_with_its_message(log: str, error: str) -> None:
    """The last line of the log is a hint about backtraces, or a frame."""
    assert root_error_of(log) == error
