"""A change of level in one sentence."""

from airflow_llm_provisioning.core.alarm import Change


def change_text(change: Change) -> str:
    """Return since when, how much, in which phase, and what changed in that night."""
    what = "back to the level before" if change.recovered else "slower" if change.change_pct > 0 else "faster"
    text = f"Since {change.at:%Y-%m-%d} ({change.run_id}) {what}: {change.before_s:.1f} to {change.after_s:.1f} s"
    text += f" ({change.change_pct:+.1f} %)"
    if (phase := change.phase) is not None:
        share = f", {phase.share:.0%} of the change" if phase.share is not None else ""
        text += f"; most in {phase.name} ({phase.before_s:.1f} to {phase.after_s:.1f} s{share})"
    causes = "; ".join(map(str, change.causes)) or "nothing that was recorded"
    return f"{text}. Changed in that night: {causes}."
