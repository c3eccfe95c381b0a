"""Databases, exports, reports and their folders belong to their owner alone; no name leads out of a folder."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_llm_provisioning.exceptions import ConfigurationError, StoreError
from airflow_llm_provisioning.gateways.autoscalers.base import NodeSetup
from airflow_llm_provisioning.gateways.private_files import child_of, write_private
from airflow_llm_provisioning.gateways.store.database import store_address
from airflow_llm_provisioning.gateways.store.results import ResultsStore
from airflow_llm_provisioning.preparation.node_files import write_node_files


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def rights(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def test_a_database_its_journals_and_its_folder_are_private(tmp_path: Path) -> None:
    """Traces hold what a cluster said. A folder that existed keeps its rights."""
    file = tmp_path / "airflow" / "llm" / "results.db"
    store = ResultsStore.open(f"sqlite:///{file}")
    store.append_trace("a", b"x")
    found = {path.name: rights(path) for path in file.parent.iterdir()}
    store.close()
    assert found
    assert set(found.values()) == {"0o600"}
    assert rights(file.parent) == rights(file.parent.parent) == "0o700"


def test_a_file_that_was_readable_is_private_after_it_is_written_again(tmp_path: Path) -> None:
    """An export over an older one."""
    file = tmp_path / "new" / "export.gz"
    file.parent.mkdir()
    file.write_text("old")
    write_private(file, b"new")
    assert file.read_bytes() == b"new"
    assert rights(file) == "0o600"


@pytest.mark.parametrize("name", ["../../x", "..", ".", "", "/etc/x", "a/b", "a\\b", "a\nb", "-rf", "a\0b", "x" * 300])
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    """A target's or a plug-in's."""
    with pytest.raises(ConfigurationError, match="cannot be the name of a file"):
        child_of(tmp_path, name, "Target")
    setup = NodeSetup(files={name: "x"})
    with pytest.raises(ConfigurationError):
        write_node_files(setup, tmp_path / "nodes")
    assert not list(tmp_path.rglob("*"))


def test_node_files_are_private_and_their_commands_are_quoted(tmp_path: Path) -> None:
    """A namespace is an argument, not a command."""
    setup = NodeSetup(files={"values.yaml": "a: 1"}, restarts=(("a; id", "b"),))
    written = write_node_files(setup, tmp_path / "nodes")
    assert [Path(path).name for path in written] == ["restart.sh", "values.yaml"]
    assert {rights(Path(path)) for path in written} == {"0o600"}
    assert "--namespace 'a; id' rollout" in Path(written[0]).read_text()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:made-up-4@127.0.0.1:1/d",
        "postgresql://127.0.0.1:1/d?user=u&password=made-up-4",
        "postgresql://127.0.0.1:1/d?sslpassword=made-up-4",
    ],
)
def test_a_databases_password_is_in_no_sentence(url: str) -> None:
    """Before the host, and as a parameter (libpq takes both)."""
    assert "made-up-4" not in store_address(url)[1]
    with pytest.raises(StoreError) as raised:
        ResultsStore.open(url)
    assert "made-up-4" not in str(raised.value)


def test_a_device_keeps_its_rights(tmp_path: Path) -> None:
    """`report --out /dev/null` as root would take it away from every other user; a named pipe stands for it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_private(pipe, "told")
        assert os.read(reader, 10) == b"told"
    finally:
        os.close(reader)
    assert stat.S_IMODE(pipe.stat().st_mode) == 0o666
