"""RayExecutor: runs parallel work of condensed_data on a Ray cluster, on one machine or many.

    from condensed_data_ray import RayExecutor

    with RayExecutor(num_cpus=2) as executor:
        condensed = CondensedDataset(train_set, "mtt", executor=executor)
        print(condensed.evaluate(test_set, executor=executor))

Install with `pip install "condensed-data[ray]"`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import ray

from condensed_data.core.annotations import checked

__all__ = ["RayExecutor"]

Result = TypeVar("Result")


class RayExecutor(Executor):
    """A `concurrent.futures.Executor` that runs calls as Ray tasks.

    A call whose process dies, or whose machine is lost, is repeated; exceptions of a call are raised here. Calls of
    condensed_data are deterministic, so that a repeated one gives the same result.

    Args:
        num_cpus: cores per call, which computes with as many threads.
        num_gpus: accelerators per call; with a fraction several calls share one.
        retries: how often a call that lost its process is repeated.
        cluster: arguments of `ray.init` if no cluster is connected, such as {"address": "auto"}; a cluster started
            here ends with the executor.

    Raises:
        ValueError: for a number out of range.
    """

    @checked
    def __init__(
        self, *, num_cpus: int = 1, num_gpus: float = 0, retries: int = 3, cluster: Mapping[str, Any] | None = None
    ) -> None:
        for name, value, minimum in (("num_cpus", num_cpus, 1), ("num_gpus", num_gpus, 0), ("retries", retries, 0)):
            if not value >= minimum:
                raise ValueError(f"RayExecutor({name}={value!r}) must be at least {minimum}.")
        self.num_cpus, self.closed = num_cpus, False
        self.owns_cluster = not ray.is_initialized()
        if self.owns_cluster:
            ray.init(**(cluster or {}))
        self._remote = ray.remote(_call).options(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=retries)
        self._pending: set[Future[Any]] = set()
        self._last_function: tuple[Any, Any] = (None, None)  # and its reference in the object store

    def submit(self, function: Callable[..., Result], /, *arguments: Any, **named: Any) -> Future[Result]:
        """Call `function` on the cluster; the function, its arguments and its result are pickled."""
        if self.closed:
            raise RuntimeError("Cannot submit to a RayExecutor that is shut down. Create a new one.")
        if self._last_function[0] is not function:  # data that a function holds are sent once
            self._last_function = (function, ray.put(function))
        reference = self._last_function[1]
        future: Future[Result] = self._remote.remote(reference, self.num_cpus, arguments, named).future()
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut down the executor, and the cluster if the executor started it."""
        self.closed, self._last_function = True, (None, None)
        if wait and not cancel_futures:
            futures.wait(list(self._pending))
        if self.owns_cluster and ray.is_initialized():
            ray.shutdown()
            self.owns_cluster = False


def _call(function: Callable[..., Any], threads: int, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    import torch

    torch.set_num_threads(threads)
    return function(*arguments, **named)
