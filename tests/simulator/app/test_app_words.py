"""Small readers and writers of the application model: quantities, durations, logs, dialects, configurations."""

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import llm_provisioning_simulator.app as app_package
from llm_provisioning_simulator.app.application import Engine, applications
from llm_provisioning_simulator.app.engine import EngineTimes, Step, engine_steps, log_line
from llm_provisioning_simulator.app.logs import PodLogs
from llm_provisioning_simulator.app.timeouts import initializing_timeout
from llm_provisioning_simulator.clock import SimClock
from llm_provisioning_simulator.kube.quantities import cpu_sum, memory_sum, quantity
from llm_provisioning_simulator.profiles import FOLDER

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIMES = EngineTimes(4.0, 20.0, 60.0, 6.0, 5.0, 19.4, 18.0, 14.4)


@pytest.mark.parametrize("file", ["ray", "vllm"])
def test_every_number_of_the_profile_is_read_by_the_model(file: str) -> None:
    """A number that nothing reads would be moved by a sweep in vain."""
    folder = Path(app_package.__file__).parent
    source = "\n".join(path.read_text() for path in folder.glob("*.py"))
    names = tomllib.loads((FOLDER / f"{file}.toml").read_text())
    assert [name for name in names if f'"{name}"' not in source] == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("75s", 75),
        ("1m15s", 75),
        ("1h", 3600),
        ("90", 90),
        ("1.5m", 90),
        ("soon", None),
        ("75s later", None),
        ("0", None),
    ],
)
def test_the_initializing_timeout_is_read_as_kuberay_reads_it(text: str, seconds: float | None) -> None:
    """Go durations or whole seconds; nonsense is no bound."""
    assert initializing_timeout({"ray.io/initializing-timeout": text}) == seconds


def test_without_the_annotation_there_is_no_bound() -> None:
    """Absent, not zero."""
    assert initializing_timeout({}) is None


@pytest.mark.parametrize(("texts", "total"), [(["500m", "500m"], "1"), (["500m"], "500m"), ([2, "8"], "10"), ([], "0")])
def test_cpu_adds_up_as_the_operator_writes_it(texts: list[object], total: str) -> None:
    """Recorded: two pods of 500m desire 1."""
    assert cpu_sum(texts) == total


@given(st.lists(st.integers(1, 10**6), max_size=5))
def test_memory_sums_lose_nothing(mebibytes: list[int]) -> None:
    """For any suffix, the number stays."""
    assert quantity(memory_sum(f"{item}Mi" for item in mebibytes)) == sum(mebibytes) * 2**20


@pytest.mark.parametrize(
    ("version", "start"),
    [
        ("0.5.4", "INFO 01-02 03:04:05 loader.py:1] hello"),
        ("0.10.2", "INFO 01-02 03:04:05 [loader.py:1] hello"),
        ("0.33.0", "(EngineCore pid=7) INFO 01-02 03:04:05 [loader.py:1] hello"),
    ],
)
def test_lines_carry_the_prefix_of_their_version(version: str, start: str) -> None:
    """No year, no zone, whole seconds in every version."""
    assert log_line(version, 7, AT, Step(0.0, "loader.py:1", "hello")) == start


@pytest.mark.parametrize("version", ["0.5.4", "0.10.2", "0.33.0"])
@pytest.mark.parametrize("eager", [True, False])
def test_a_start_takes_the_sum_of_its_steps(version: str, eager: bool) -> None:
    """Nothing is waited for twice, and eager mode leaves compilation and graphs out."""
    engine = Engine("acme/model", "acme/model", enforce_eager=eager)
    total = sum(step.wait_s for step in engine_steps(version, engine, 10**9, TIMES))
    if version == "0.5.4":
        expected = 4.0 + 60.0 + 6.0 + 5.0 + 0.2 + (0.0 if eager else 18.1)
    else:
        expected = 20.0 + 4.0 + 60.0 + 6.0 + 14.4 + (0.0 if eager else 19.4)
    assert total == pytest.approx(expected)


def test_a_short_download_is_not_printed() -> None:
    """V1 prints the download above half a second only."""
    times = EngineTimes(4.0, 20.0, 0.4, 6.0, 5.0, 19.4, 18.0, 14.4)
    steps = engine_steps("0.33.0", Engine("m", "m"), 10**9, times)
    assert not [step for step in steps if "downloading" in step.message]


def test_ray_logs_to_the_container_where_it_is_told_to() -> None:
    """RAY_LOG_TO_STDERR=1: the line is in the container's output and absent from the session's files."""
    clock = SimClock.start(1.0)
    files, stderr = PodLogs(clock, "ray-worker"), PodLogs(clock, "ray-worker", to_stderr=True)
    for logs in (files, stderr):
        logs.write("worker-1.out", "hello")
    assert files.text("worker-1.out") == "hello\n"
    assert stderr.text("worker-1.out") is None
    assert [line for _, line in stderr.containers["ray-worker"]] == ["hello"]


def test_folders_are_listed_closed_and_opened_by_a_glob() -> None:
    """As the state API does: `serve/` among the files, its content for `serve/*`."""
    logs = PodLogs(SimClock.start(1.0), "ray-head")
    logs.serve("controller_7.log", "INFO", "controller 7", "hello")
    logs.write("worker-ab-01000000-7.out", "hi")
    assert "serve/" in logs.index()["internal"]
    assert logs.index()["worker_out"] == ["worker-ab-01000000-7.out"]
    assert logs.index("serve/*") == {"internal": ["serve/controller_7.log"]}
    line = logs.text("serve/controller_7.log") or ""
    assert re.fullmatch(r"INFO \d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} controller 7 -- hello\n", line)


def test_ray_llm_makes_an_engine_and_an_ingress() -> None:
    """One deployment per model and one in front of them."""
    llm = {"model_loading_config": {"model_id": "a/b"}, "engine_kwargs": {"enforce_eager": True}}
    entry = {"name": "llm", "import_path": "ray.serve.llm:build_openai_app", "args": {"llm_configs": [llm]}}
    (application,) = applications({"applications": [entry]})
    assert [item.name for item in application.deployments] == ["LLMServer:a--b", "OpenAiIngress"]
    assert application.engine == Engine("a/b", "a/b", enforce_eager=True)
    assert application.deployments[0].needs_gpu
    assert not application.deployments[1].needs_gpu
