"""Settings of the whole process in which waits run. Only if they were asked for: they hold for the triggers of other
providers too.
"""

import gc
from asyncio import sslproto
from functools import cache
from typing import Final

# CPython's defaults are 10 and 10: with 200 waits at 1,000 events a second a full collection takes 0.3 s every 8 s.
# With these values it runs every four minutes, and the middle generation's collection of 0.03 s every 4 s.
OLDER_GENERATIONS: Final = (50, 50)
# Two TLS records (RFC 8446, 5.1: 2^14 bytes each). A longer line of a watch takes several reads.
TLS_BUFFER_BYTES: Final = 2**15


def apply_process_settings() -> None:
    """Apply Airflow's settings `[llm_provisioning] tune_garbage_collector` and `small_tls_buffers`, once for each
    process.
    """
    _collect_rarely(_asked("tune_garbage_collector"))
    _shrink_tls_buffers(_asked("small_tls_buffers"))


def _asked(name: str) -> bool:
    from airflow_llm_provisioning.compat import conf

    return bool(conf.getboolean("llm_provisioning", name, fallback=False))


@cache
def _collect_rarely(wanted: bool) -> None:
    """Make full garbage collections short and rare, because all waits of the process stop during them.

    Airflow and its providers are some 260,000 objects that are never freed. Frozen, they cost nothing; otherwise each
    collection takes 0.2 s. Airflow's executor and DAG processor do the same before they fork (airflow 3.3,
    local_executor.py). Every collection of a younger generation counts the objects that hundreds of waits use at that
    moment, which brings the next full collection nearer. Therefore both run less often.
    """
    if not wanted:
        return
    gc.collect()
    gc.freeze()
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, max(middle, OLDER_GENERATIONS[0]), max(old, OLDER_GENERATIONS[1]))


@cache
def _shrink_tls_buffers(wanted: bool) -> None:
    """Let each new TLS connection have a small read buffer.

    asyncio gives each one 256 KiB and writes to every byte of it (CPython 3.11 to 3.13, `sslproto.SSLProtocol`). A wait
    that is alone on its cluster has eleven connections: these buffers were three fifths of its memory.
    """
    if wanted:
        sslproto.SSLProtocol.max_size = min(sslproto.SSLProtocol.max_size, TLS_BUFFER_BYTES)
