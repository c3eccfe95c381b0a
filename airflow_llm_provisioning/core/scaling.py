"""The two scaling set-ups of the origin's experiment."""

from enum import StrEnum


class ScalingSetup(StrEnum):
    """Whether the GPU worker is there from the start, or Ray's autoscaler asks for it once Serve has an application."""

    STATIC = "static"
    DYNAMIC = "dynamic"
