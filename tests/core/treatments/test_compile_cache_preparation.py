"""What `compile_cache` prepares: claim and Job in the worker's pod; and its programs, run with a stand-in of Ray."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from test_compile_cache import CURRENT, a_target, planned, unpacking

from airflow_llm_provisioning.core.manifests import RayGroup, pod_template, ray_container, with_env, worker_groups
from airflow_llm_provisioning.core.prepared_objects import PreparedObjects, facts_of
from airflow_llm_provisioning.core.target import Target
from airflow_llm_provisioning.core.treatments import StepContext, treatment
from airflow_llm_provisioning.core.treatments.cache_programs import FILL, UNPACK
from airflow_llm_provisioning.core.treatments.compile_cache import MOUNT, ROOT
from airflow_llm_provisioning.preparation.objects import with_image_of

HASH, KEY = "7a48b06768", "ab12cd34"
LOGS = "/tmp/ray/session_latest/logs"  # noqa: S108 - where Ray has them


def objects_of(*manifests: Mapping[str, Any], target: Target | None = None) -> tuple[Mapping[str, Any], ...]:
    (step,) = treatment("compile_cache").steps
    image = {"image": "i"}
    served = tuple((image, manifest) for manifest in manifests)
    context = StepContext(target or a_target(), CURRENT.recipe, image, served=lambda: served)
    return PreparedObjects.from_dict({**step.arguments(context), "ready": {}}).objects


def test_the_job_is_the_workers_pod_with_the_claim_writable() -> None:
    """Image, GPU, variables and the cache's place are the worker's; it reads no cache itself, and it ends."""
    manifest = planned(a_target(size="20Gi"))
    claim, job = objects_of(manifest, target=a_target(size="20Gi"))
    assert (claim["spec"]["accessModes"], claim["spec"]["resources"]["requests"]["storage"]) == (
        ["ReadWriteMany"],
        "20Gi",
    )
    spec, worker = job["spec"]["template"]["spec"], ray_container(manifest, worker_groups(manifest)[0])
    (container,) = spec["containers"]
    assert container["image"] == "{image}"
    assert (container["resources"], container["env"]) == (worker["resources"], worker["env"])
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {ROOT, MOUNT, "/dev/shm"}  # noqa: S108
    assert {"medium": "Memory", "sizeLimit": "20Gi"} in [item.get("emptyDir") for item in spec["volumes"]]
    (source,) = [item["persistentVolumeClaim"] for item in spec["volumes"] if "persistentVolumeClaim" in item]
    assert source == {"claimName": claim["metadata"]["name"]}
    assert "initContainers" not in spec
    assert (spec["restartPolicy"], job["spec"]["activeDeadlineSeconds"]) == ("Never", 3000)
    config, archive, root = container["args"]
    assert json.loads(config)["applications"][0]["args"]["llm_configs"]
    assert [archive, root] == unpacking(manifest)["args"]


def test_every_engine_of_a_target_gets_its_archive_once() -> None:
    """Two variants with one engine configuration need one Job, another configuration another; a baseline beside them
    needs none, and a claim of the user's own is filled and not made.
    """
    level = planned(None, "optimization_level_1")
    kinds = [item["kind"] for item in objects_of(planned(), planned(), level, CURRENT.manifest)]
    assert kinds == ["PersistentVolumeClaim", "Job", "PersistentVolumeClaim", "Job"]
    mine = a_target(claim="mine", storage_class=None)
    assert [item["kind"] for item in objects_of(planned(mine), target=mine)] == ["Job"]


def test_every_kind_of_gpu_and_every_variable_of_the_engine_has_an_archive_of_its_own() -> None:
    """Two worker groups on two kinds of GPU: a Job for each runs where its group runs. A variable of vLLM's is part of
    a cache's key, one of the hub is not; an engine that fits into no pod of a group is refused with the group's place.
    """
    mine = deepcopy(dict(CURRENT.manifest))
    workers = mine["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    workers.append({**deepcopy(workers[0]), "groupName": "more"})
    for group, kind in zip(workers, ("nvidia-l4", "nvidia-a100-80gb"), strict=True):
        group["template"]["spec"]["nodeSelector"] = {"cloud.google.com/gke-accelerator": kind}
    served = planned(workload=replace(CURRENT, manifest=mine))
    archives = [unpacking_of(served, group)["args"][0] for group in worker_groups(served)]
    assert len(set(archives)) == 2
    jobs = [item for item in objects_of(served) if item["kind"] == "Job"]
    told = [(job["spec"]["template"]["spec"]["nodeSelector"], _archive(job)) for job in jobs]
    assert told == [
        (group["template"]["spec"]["nodeSelector"], archive) for group, archive in zip(workers, archives, strict=True)
    ]
    changed = [with_env(CURRENT.manifest, {name: "1"}) for name in ("VLLM_USE_FLASHINFER_SAMPLER", "HF_HUB_OFFLINE")]
    first, vllm, hub = (
        unpacking(planned(workload=replace(CURRENT, manifest=item))) for item in (CURRENT.manifest, *changed)
    )
    assert first["args"] == hub["args"] != vllm["args"]


def test_every_image_of_a_target_has_its_archive() -> None:
    """Each Job runs the image whose engine will read its archive; what is kept is paid for as often as it is there."""
    (step,) = treatment("compile_cache").steps
    built, plain = {"image": "built"}, {"image": "plain"}
    newer = CURRENT.with_image("docker.io/rayproject/ray-llm:2.57.0-py312-cu130")
    served = ((built, planned(workload=newer)), (plain, planned()))
    arguments = step.arguments(StepContext(a_target(), CURRENT.recipe, built, served=lambda: served))
    objects = with_image_of(arguments["objects"], arguments["image"])
    jobs = [item["spec"]["template"]["spec"] for item in objects if item["kind"] == "Job"]
    assert [job["containers"][0]["image"] for job in jobs] == ["built", "plain"]
    assert len({_archive({"spec": {"template": {"spec": job}}}) for job in jobs}) == 2
    assert arguments["idle"] == [{"what": "disk", "name": "efs-sc", "amount": 20}]


def unpacking_of(manifest: Mapping[str, Any], group: RayGroup) -> Mapping[str, Any]:
    (init,) = pod_template(manifest, group)["spec"]["initContainers"]
    return dict(init)


def _archive(job: Mapping[str, Any]) -> str:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return str(container["args"][1])


class Serve(BaseHTTPRequestHandler):
    """Serve's REST interface. An engine writes its log and its cache when the applications are sent; it finds its
    graphs from the start `found_at` on.
    """

    root: Path
    logs: Path
    found_at: int
    starts = 0
    refused = 0
    status = 503
    sent: bytes = b""

    def do_PUT(self) -> None:
        """Start the engine; refuse the first requests, as a dashboard that boots does."""
        kind = type(self)
        if kind.refused < 2:
            kind.refused += 1
            self._answer(b"not now", kind.status)
            return
        kind.starts += 1
        kind.sent = self.rfile.read(int(self.headers["Content-Length"]))
        graphs = self.root / "torch_compile_cache" / HASH / "rank_0_0"
        graphs.mkdir(parents=True, exist_ok=True)
        (graphs / "vllm_compile_cache.py").write_text(f"start {min(kind.starts, kind.found_at)}")
        hit = kind.starts >= kind.found_at
        told = "Directly load the compiled graph(s) for dynamic shape" if hit else "Compiling a graph for dynamic shape"
        lines = ["INFO [core.py:93] Initializing a V1 LLM engine (v0.19.0) with config: x", f"INFO {told}"]
        (self.logs / f"worker-{kind.starts}.out").write_text("\n".join(lines))
        self._answer(b"")

    def do_GET(self) -> None:
        """Say that it runs."""
        self._answer(json.dumps({"applications": {"llm": {"status": "RUNNING", "message": ""}}}).encode())

    def do_DELETE(self) -> None:
        """Delete the applications."""
        self._answer(b"")

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[type[Serve], int]]:
    logs = tmp_path / "logs"
    logs.mkdir()
    kind = type("Served", (Serve,), {"root": tmp_path / "root", "logs": logs, "found_at": 3})
    server = HTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield kind, server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def filled(tmp_path: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Run the Job's program with a stand-in of Ray's command line."""
    command = tmp_path / "ray"
    command.write_text("#!/bin/sh\nexit 0\n")
    command.chmod(0o755)
    program = FILL.replace("127.0.0.1:8265", f"127.0.0.1:{port}").replace(LOGS, str(tmp_path / "logs"))
    program = program.replace("time.sleep(2)", "time.sleep(0.01)")
    args = ['{"applications": []}', str(tmp_path / "volume" / KEY / "cache.tar"), str(tmp_path / "root")]
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    return subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, env=env, check=False)  # noqa: S603 - our own program


def unpacked(tmp_path: Path, archive: Path) -> dict[str, Any]:
    """Run the init container's program; return its termination message."""
    message = tmp_path / "termination-log"
    program = UNPACK.replace("/dev/termination-log", str(message))
    args = [sys.executable, "-c", program, str(archive), str(tmp_path / "copy")]
    subprocess.run(args, capture_output=True, check=True)  # noqa: S603 - our own program
    return dict(json.loads(message.read_text()))


def test_the_job_starts_the_engine_until_it_finds_its_graphs(tmp_path: Path, served: tuple[type[Serve], int]) -> None:
    """Three starts, as torch 2.10 needs; then the archive of what is there, its digest and its keys. The init container
    unpacks the same files and tells the same digest.
    """
    kind, port = served
    ran = filled(tmp_path, port)
    assert ran.returncode == 0, ran.stderr
    archive = tmp_path / "volume" / KEY / "cache.tar"
    told = facts_of(f"2026-05-04T12:00:00Z {ran.stdout}")[KEY]
    digest = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    assert (told["digest"], told["bytes"], told["keys"]) == (digest, archive.stat().st_size, [HASH])
    assert (told["starts"], told["vllm"], kind.sent) == (3, "0.19.0", b'{"applications": []}')
    assert unpacked(tmp_path, archive) == {"digest": digest, "bytes": archive.stat().st_size}
    (copied,) = (tmp_path / "copy").rglob("*.py")
    assert copied.read_text() == "start 3"


def test_an_engine_that_never_finds_its_graphs_ends_the_job(tmp_path: Path, served: tuple[type[Serve], int]) -> None:
    """No archive is left: such a cache would be found by no trial."""
    kind, port = served
    kind.found_at = 99
    ran = filled(tmp_path, port)
    assert ran.returncode != 0
    assert "did not find its own compiled graphs in 4 starts: INFO Compiling a graph for dynamic shape" in ran.stderr
    assert not (tmp_path / "volume").exists()


def test_a_configuration_that_serve_refuses_ends_the_job(tmp_path: Path, served: tuple[type[Serve], int]) -> None:
    """With Serve's own words, and at once."""
    kind, port = served
    kind.status = 400
    ran = filled(tmp_path, port)
    assert "Serve answered PUT with 400: b'not now'" in ran.stderr
    assert (ran.returncode, kind.refused) == (1, 1)


def test_an_archive_that_is_not_there_is_told_and_keeps_no_pod_from_starting(tmp_path: Path) -> None:
    """The service starts without a cache; the pod's status says why. A file that is no archive is told too."""
    assert unpacked(tmp_path, tmp_path / "cache.tar")["error"].startswith("FileNotFoundError")
    (tmp_path / "cache.tar").write_bytes(b"none")
    assert unpacked(tmp_path, tmp_path / "cache.tar")["error"].startswith("ReadError")
    with tarfile.open(tmp_path / "cache.tar", "w"):
        pass
    assert unpacked(tmp_path, tmp_path / "cache.tar")["bytes"] == 10240
