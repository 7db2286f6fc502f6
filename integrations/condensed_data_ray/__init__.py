"""Ray as an executor: what runs in parallel here, on the processes of one machine or of many.

    from condensed_data_ray import RayExecutor

    with RayExecutor(num_cpus=2) as executor:
        small = CondensedDataset(train_set, "mtt", executor=executor)
        print(small.evaluate(test_set, executor=executor))

Install with `pip install "condensed-data[ray]"`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import ray

Result = TypeVar("Result")


class RayExecutor(Executor):
    """A `concurrent.futures.Executor` whose work is done by a Ray cluster.

    Work whose process dies, or whose machine is lost, is done again; what raises an error raises it here. Equal work
    gives equal results, so nobody can tell.

    Args:
        num_cpus: cores of one piece of work, which computes with as many threads.
        num_gpus: accelerators of one piece of work; a fraction shares one.
        retries: how often work is begun again that lost its process.
        cluster: arguments of `ray.init` where no cluster is connected, such as {"address": "auto"}; what is begun here
            ends with the executor.

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(
        self,
        *,
        num_cpus: int = 1,
        num_gpus: float = 0,
        retries: int = 3,
        cluster: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value, least in (
            ("num_cpus", num_cpus, 1),
            ("num_gpus", num_gpus, 0),
            ("retries", retries, 0),
        ):
            if not value >= least:
                raise ValueError(f"RayExecutor({name}={value!r}) must be at least {least}.")
        self.num_cpus, self.closed = num_cpus, False
        self.own = not ray.is_initialized()
        if self.own:
            ray.init(**(cluster or {}))
        self._work = ray.remote(_work).options(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=retries)
        self._pending: set[Future[Any]] = set()
        self._last: tuple[Any, Any] = (None, None)

    def submit(self, function: Callable[..., Result], /, *arguments: Any, **named: Any) -> Future[Result]:
        """Have the cluster call `function`; both it and its result are pickled."""
        if self.closed:
            raise RuntimeError("This RayExecutor is shut down: nothing more can be submitted.")
        if self._last[0] is not function:  # data that a function carries travel once
            self._last = (function, ray.put(function))
        future: Future[Result] = self._work.remote(self._last[1], self.num_cpus, arguments, named).future()
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End; a cluster that was begun here ends as well."""
        self.closed, self._last = True, (None, None)
        if wait and not cancel_futures:
            futures.wait(list(self._pending))
        if self.own and ray.is_initialized():
            ray.shutdown()
            self.own = False


def _work(
    function: Callable[..., Any], threads: int, arguments: tuple[Any, ...], named: dict[str, Any]
) -> Any:
    import torch

    torch.set_num_threads(threads)
    return function(*arguments, **named)
