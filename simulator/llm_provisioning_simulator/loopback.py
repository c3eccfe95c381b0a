"""Where the simulator's servers listen: on this machine only. Knows nothing of what they serve."""

from aiohttp import web


class Loopback:
    """One server's place on 127.0.0.1."""

    def __init__(self) -> None:
        self._runner: web.BaseRunner | None = None

    async def serve(self, runner: web.BaseRunner, port: int = 0, *, backlog: int = 128) -> str:
        """Listen (port 0: any free one) and return the URL."""
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, "127.0.0.1", port, backlog=backlog).start()
        host, bound = runner.addresses[0][:2]
        return f"http://{host}:{bound}"

    async def stop(self) -> None:
        """Stop listening; harmless when it has stopped, or never began."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
