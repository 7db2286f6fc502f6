"""What a caller can set in torch and NumPy around our functions, by name, and a record of all of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np
import sklearn
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

Setting = Callable[[], AbstractContextManager[Any]]


class HalvedFunctions(TorchFunctionMode):
    """Halves the floats that every function of torch returns."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        return result / 2 if type(result) is torch.Tensor and result.is_floating_point() else result


class RefusedOperations(TorchDispatchMode):
    """Refuses every operation."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called")


@contextmanager
def swapped(read: Callable[[], Any], write: Callable[[Any], Any], value: Any) -> Iterator[None]:
    before = read()
    write(value)
    try:
        yield
    finally:
        write(before)


def flag(name: str, value: Any) -> Setting:
    """A flag of `torch._C`."""
    return lambda: swapped(getattr(torch._C, f"_get_{name}"), getattr(torch._C, f"_set_{name}"), value)


def sdp(name: str) -> Setting:
    cuda = torch.backends.cuda
    return lambda: swapped(getattr(cuda, f"{name}_sdp_enabled"), getattr(cuda, f"enable_{name}_sdp"), False)


def default_dtype(dtype: torch.dtype) -> Setting:
    return lambda: swapped(torch.get_default_dtype, torch.set_default_dtype, dtype)


def future(name: str) -> Setting:
    return lambda: swapped(getattr(torch.__future__, f"get_{name}"), getattr(torch.__future__, f"set_{name}"), True)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic(warn_only: bool) -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def _set_fp32(values: dict[tuple[str, str], str]) -> None:
    for key, value in values.items():
        torch._C._set_fp32_precision_setter(*key, value)


@contextmanager
def fp32(backend: str, operation: str, value: str) -> Iterator[None]:
    """One of the newer precisions of torch 2.9."""
    key = (backend, operation)
    before = torch._C._get_fp32_precision_getter(*key)
    _set_fp32({key: value})
    try:
        yield
    finally:
        _set_fp32({key: before})


@contextmanager
def matmul_precision(value: str) -> Iterator[None]:
    kept = {key: torch._C._get_fp32_precision_getter(*key) for key in (("cuda", "matmul"), ("mkldnn", "matmul"))}
    with swapped(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, value):
        yield
    _set_fp32(kept)  # "highest" leaves "ieee" there, where "none" was


@contextmanager
def flushed_subnormals() -> Iterator[None]:
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def print_options() -> Iterator[None]:
    torch.set_printoptions(precision=1, sci_mode=True)
    try:
        with np.printoptions(precision=1):
            yield
    finally:
        torch.set_printoptions("default")


@contextmanager
def fake_tensors() -> Iterator[None]:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        yield


@contextmanager
def compiler_stance() -> Iterator[None]:
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def other_seeds() -> Iterator[None]:
    """Global generators in another state than in the plain call."""
    states = torch.get_rng_state(), np.random.get_state()
    torch.rand(3)
    np.random.rand(3)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])


def _autocast_dtype() -> AbstractContextManager[None]:
    return swapped(
        lambda: torch.get_autocast_dtype("cpu"), lambda dtype: torch.set_autocast_dtype("cpu", dtype), torch.float16
    )


_MHA = torch.backends.mha
SETTINGS: dict[str, Setting] = {
    "autocast to bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", torch.float16),
    "autocast without cache": lambda: torch.autocast("cpu", torch.bfloat16, cache_enabled=False),
    "autocast off in autocast": lambda: torch.autocast("cpu", torch.bfloat16, enabled=False),
    "dtype of autocast": _autocast_dtype,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "one thread in backward passes": lambda: torch.autograd.set_multithreading_enabled(False),
    "anomaly mode": lambda: swapped(torch.is_anomaly_enabled, torch.set_anomaly_enabled, True),
    "hooks that halve saved tensors": lambda: torch.autograd.graph.saved_tensors_hooks(lambda x: x / 2, lambda x: x),
    "refused hooks of saved tensors": lambda: torch.autograd.graph.disable_saved_tensors_hooks("refused"),
    "default dtype float64": default_dtype(torch.float64),
    "default dtype float16": default_dtype(torch.float16),
    "default dtype bfloat16": default_dtype(torch.bfloat16),
    "default device": lambda: default_device("meta"),
    "with torch.device": lambda: torch.device("meta"),
    "mode of functions": HalvedFunctions,
    "mode of operations": RefusedOperations,
    "fake tensors": fake_tensors,
    "deterministic algorithms": lambda: deterministic(warn_only=False),
    "deterministic algorithms with warnings": lambda: deterministic(warn_only=True),
    "matmul precision medium": lambda: matmul_precision("medium"),
    "matmul precision high": lambda: matmul_precision("high"),
    "fp32 in bf16 in oneDNN": lambda: fp32("mkldnn", "matmul", "bf16"),
    "fp32 convolutions in bf16 in oneDNN": lambda: fp32("mkldnn", "conv", "bf16"),
    "fp32 in TF32 everywhere": lambda: fp32("generic", "all", "tf32"),
    "no TF32 in cuDNN": flag("cudnn_allow_tf32", False),
    "no cuDNN": flag("cudnn_enabled", False),
    "cuDNN that measures": flag("cudnn_benchmark", True),
    "no oneDNN": flag("mkldnn_enabled", False),
    "deterministic oneDNN": flag("mkldnn_deterministic", True),
    "no NNPACK": flag("nnpack_enabled", False),
    "no flash attention": sdp("flash"),
    "no attention by math": sdp("math"),
    "no fast path of attention": lambda: swapped(_MHA.get_fastpath_enabled, _MHA.set_fastpath_enabled, False),
    "stance of the compiler": compiler_stance,
    "flushed subnormals": flushed_subnormals,
    "checked sparse tensors": torch.sparse.check_sparse_tensor_invariants,
    "repeated warnings": lambda: swapped(torch.is_warn_always_enabled, torch.set_warn_always, True),
    "swapped parameters": future("swap_module_params_on_conversion"),
    "overwritten parameters": future("overwrite_module_params_on_conversion"),
    "NumPy that raises": lambda: np.errstate(all="raise"),
    "print options": print_options,
    "scikit-learn's data frames": lambda: sklearn.config_context(transform_output="pandas", working_memory=1),
    "other seeds": other_seeds,
}


@contextmanager
def settings(*names: str) -> Iterator[None]:
    """Several settings at once, the first outermost."""
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(SETTINGS[name]())
        yield


def _or_refused(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RuntimeError as error:
        return str(error)


def record() -> dict[str, Any]:
    """Everything of the caller's that a function of ours may change and has to restore."""
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    stack = range(torch._C._len_torch_function_stack())
    return {
        "autocast": [(torch.is_autocast_enabled(name), torch.get_autocast_dtype(name)) for name in ("cpu", "cuda")],
        "autocast cache": torch.is_autocast_cache_enabled(),
        "autocast depth": (torch.autocast_increment_nesting(), torch.autocast_decrement_nesting()),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "saved tensors": torch._C._autograd._top_saved_tensors_default_hooks(False),
        "dtype": torch.get_default_dtype(),
        "function modes": [id(torch._C._get_function_stack_at(index)) for index in stack],
        "operation modes": torch._C._len_torch_dispatch_stack(),
        "default device": id(getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)),
        "deterministic": torch.get_deterministic_debug_mode(),
        "matmul": _or_refused(torch.get_float32_matmul_precision),
        "cudnn": _or_refused(torch._C._get_cudnn_allow_tf32),
        "fp32": [
            torch._C._get_fp32_precision_getter(backend, operation)
            for backend, operation in (("generic", "all"), ("cuda", "matmul"), ("cuda", "conv"), ("mkldnn", "matmul"))
        ],
        "flags": [
            getattr(torch._C, f"_get_{name}")()
            for name in ("cudnn_enabled", "cudnn_benchmark", "cudnn_deterministic", "mkldnn_enabled", "nnpack_enabled")
        ],
        "attention": (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()),
        "fast path": _MHA.get_fastpath_enabled(),
        "stance": None if compiler is None or compiler._stance == compiler.DynamoStance() else compiler._stance,
        "flushed": sys.float_info.min / 2 == 0,
        "warnings": torch.is_warn_always_enabled(),
        "numpy": np.geterr(),
        "threads": torch.get_num_threads(),
    }


def foreign_worker() -> None:
    """As the top of a script does that every worker of a pool imports."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.set_autocast_enabled("cpu", True)
