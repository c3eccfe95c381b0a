"""What waits change for their whole process, and that they leave it alone unless they are asked."""

import subprocess
import sys

# In a process of its own: each is applied once, for good.
PROGRAM = """
import gc, os
from asyncio import sslproto
from airflow_llm_provisioning.triggers.process_settings import apply_process_settings
before = gc.get_threshold()
for asked in ("NOTHING", "TUNE_GARBAGE_COLLECTOR", "SMALL_TLS_BUFFERS"):
    os.environ[f"AIRFLOW__LLM_PROVISIONING__{asked}"] = "True"
    apply_process_settings()
    tuned = gc.get_threshold() != before, gc.get_freeze_count() > 0
    print("AFTER", asked, *tuned, sslproto.SSLProtocol.max_size // 1024)
"""


def test_a_process_is_left_alone_unless_it_was_asked_for() -> None:
    """Other providers' triggers run in the same process: each setting is a switch of its own, and off by default."""
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert [line for line in ran.stdout.splitlines() if line.startswith("AFTER ")] == [
        "AFTER NOTHING False False 256",
        "AFTER TUNE_GARBAGE_COLLECTOR True True 256",
        "AFTER SMALL_TLS_BUFFERS True True 32",
    ]
