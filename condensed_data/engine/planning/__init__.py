"""What a build will take: time, memory, disk and operations, measured before it starts."""

from condensed_data.engine.planning.cost_estimate import Plan, plan

__all__ = ["Plan", "plan"]
