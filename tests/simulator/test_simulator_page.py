"""docs/simulator.md names what there is."""

import re
from pathlib import Path

from llm_provisioning_simulator.app.engine_errors import FAULTS
from llm_provisioning_simulator.app.webhooks import ANSWERS
from llm_provisioning_simulator.catalogue import read_catalogue
from llm_provisioning_simulator.dead_ends import ALL
from llm_provisioning_simulator.faults import Faults
from llm_provisioning_simulator.infra.pulltroubles import TROUBLES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "simulator.md"


def test_every_switch_of_the_page_exists() -> None:
    """A reader who copies a name gets no 404."""
    section = PAGE.read_text(encoding="utf-8").split("## What goes wrong on request", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z0-9_]+)`", row)}
    assert named
    assert named - set(Faults().values()) == set()


def test_every_switched_value_of_the_page_exists() -> None:
    """The page lists exactly the ways in which a pull, a webhook or an engine can fail."""
    section = PAGE.read_text(encoding="utf-8").split("## What goes wrong on request", 1)[1].split("\n## ", 1)[0]
    for switch, known in (("pull_trouble", TROUBLES), ("webhook", ANSWERS), ("engine_error", FAULTS)):
        (row,) = (line for line in section.splitlines() if line.startswith(f"| `{switch}`"))
        assert set(re.findall(r"`([a-z_]+)`", row.split("|")[2])) == set(known)


def test_the_dead_end_of_the_page_exists() -> None:
    """A reader who copies the example gets its recording."""
    (name,) = re.findall(r'produce\("([a-z-]+)"', PAGE.read_text(encoding="utf-8"))
    assert name in {end.name for end in ALL}


def test_the_catalogue_of_the_page_is_valid(tmp_path: Path) -> None:
    """A reader who copies the example gets a simulator that knows its image and its model."""
    (text,) = re.findall(r"```yaml\n(images:.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "catalogue.yaml"
    path.write_text(text)
    catalogue = read_catalogue(path)
    assert len(catalogue.images) == len(catalogue.models) == 1
