"""Plans a build: measures the time, memory, disk space and operations that it would take."""

from condensed_data.engine.planning.cost_estimate import Plan, plan

__all__ = ["Plan", "plan"]
