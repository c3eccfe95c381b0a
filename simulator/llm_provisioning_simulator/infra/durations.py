"""Durations as Go prints them (time.Duration.String), which is how kubelets write them into events and states."""


def go_duration(seconds: float) -> str:
    """Return a duration truncated to milliseconds: 796ms, 12.122s, 2m10.813s, 5m0s, 1h0m0.5s."""
    total_ms = int(seconds * 1000)
    if total_ms < 1000:
        return f"{total_ms}ms"
    minutes, rest_ms = divmod(total_ms, 60_000)
    shown = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{shown}"
    return f"{minutes}m{shown}" if minutes else shown
