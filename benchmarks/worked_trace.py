"""Write a recording's analysis into docs/measurement.md, and its figure next to it.

python benchmarks/worked_trace.py RECORDING        # node-late.jsonl.gz of the recordings
"""

import argparse
import json
from pathlib import Path
from typing import Final

from airflow_llm_provisioning.core.replay import replay
from airflow_llm_provisioning.report.replay_text import result_lines
from airflow_llm_provisioning.report.trace_figure import trace_figure

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
PAGE: Final = DOCS / "measurement.md"
FIGURE: Final = DOCS / "measurement-trace.svg"
BEGIN: Final = "<!-- worked trace -->\n"
END: Final = "<!-- /worked trace -->\n"


def worked(data: bytes) -> str:
    """Return the text of a recording's replay for the page, without the verdicts' long sentences."""
    document = json.loads(replay(data)) | {"verdicts": [], "treatments": []}
    lines = "\n".join(result_lines(document))
    return f"```text\n{lines}\n```\n"


def block(page: str) -> str:
    """Return the text between the page's two marks."""
    return page.split(BEGIN, 1)[1].split(END, 1)[0]


def main() -> int:
    """Rewrite page and figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("recording", type=Path, help="a trace file (.jsonl.gz)")
    path = parser.parse_args().recording
    data = path.read_bytes()
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page.replace(BEGIN + block(page) + END, BEGIN + worked(data) + END), encoding="utf-8")
    FIGURE.write_text(trace_figure(json.loads(replay(data)), path.name.partition(".")[0]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
