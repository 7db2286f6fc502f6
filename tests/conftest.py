"""Fixtures for all tests: an isolated environment, one thread, small learnable data, a fixed random state.

Dimension letters: N samples, K classes, C channels, H, W.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# libraries read these when they are imported, so set them before other imports
_HOME = Path(tempfile.mkdtemp(prefix="condensed-data-tests-"))
# Nothing listens on this port until a test requests `hub`, so that no test reaches the public Hub by accident. The
# socket keeps the port reserved; a second socket can bind it too, as long as this one does not listen.
_HUB = socket.socket()
_HUB.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
_HUB.bind(("127.0.0.1", 0))
_HUB_PORT: int = _HUB.getsockname()[1]
_SUPPORT = Path(__file__).parent / "support"
_ENVIRONMENT = {
    # subprocesses of tests can import the same modules
    "PYTHONPATH": os.pathsep.join(filter(None, (str(_SUPPORT), os.environ.get("PYTHONPATH")))),
    "CONDENSED_DATA_CACHE": str(_HOME / "cache"),
    "HF_HOME": str(_HOME / "hf"),
    "HF_ENDPOINT": f"http://127.0.0.1:{_HUB_PORT}",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_XET": "1",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": str(_HOME / "matplotlib"),
}
os.environ.update(_ENVIRONMENT)
for _secret in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
    os.environ.pop(_secret, None)
# on such small tensors two threads are three times slower than one, and results depend on the number of threads
os.environ["OMP_NUM_THREADS"] = "1"

import hub_server  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.utils.data import TensorDataset  # noqa: E402

torch.set_num_threads(1)


def pytest_unconfigure() -> None:
    """Remove the caches of this session."""
    _HUB.close()
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def hub_for_all() -> Iterator[hub_server.HubServer]:
    """The server at HF_ENDPOINT, for this session."""
    with hub_server.HubServer(_HUB_PORT) as server:
        yield server


@pytest.fixture
def hub(hub_for_all: hub_server.HubServer) -> Iterator[hub_server.HubServer]:
    """The server at HF_ENDPOINT, without repositories of other tests. The client caches by name; see `repo_id`."""
    hub_for_all.forget()
    yield hub_for_all
    hub_for_all.faults.clear()
    assert hub_for_all.broken == []
    assert hub_for_all.leaks == []


@pytest.fixture
def repo_id() -> str:
    """A repository of alice that no other test uses, because the client caches by name."""
    return f"alice/set-{next(_NUMBERS)}"


_NUMBERS = itertools.count()


@pytest.fixture
def tiny_images() -> TensorDataset:
    """20 samples of each of 3 classes: (60, 1, 12, 12) float32 in [0, 1] and (60,) int64 in [0, 3)."""
    return _noisy_prototypes(per_class=20, noise_seed=1)


@pytest.fixture
def tiny_test_images() -> TensorDataset:
    """Held-out samples of the classes of `tiny_images`, 40 a class: (120, 1, 12, 12) and (120,)."""
    return _noisy_prototypes(per_class=40, noise_seed=2)


def _noisy_prototypes(per_class: int, noise_seed: int, classes: int = 3, size: int = 12) -> TensorDataset:
    """Each class is a random coarse pattern, upsampled to `size`; its samples add pixel noise.

    The noise leaves room to distinguish methods: a small ConvNet reaches about 97 % with all 60 samples, 91 %
    with the mean of each class, 77 % with one random sample per class.
    """
    drawn = torch.rand(classes, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    prototypes = torch.nn.functional.interpolate(drawn, size=(size, size), mode="bilinear", align_corners=False)
    labels = torch.arange(classes).repeat_interleave(per_class)
    noise = torch.randn(len(labels), 1, size, size, generator=torch.Generator().manual_seed(noise_seed))
    return TensorDataset((prototypes[labels] + 0.35 * noise).clamp(0, 1), labels)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seed the global random states (used by shuffles, Avalanche's streams, new layers) for every test."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def untouched_rng() -> Iterator[None]:
    """Fail the test if it changes a global random state of torch (any device), NumPy or `random`."""
    before = _global_random_states()
    yield
    after = _global_random_states()
    changed = [name for name, state in before.items() if after[name] != state]
    assert not changed, f"global random states changed: {', '.join(changed)}"


def _global_random_states() -> dict[str, object]:
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    states: dict[str, object] = {
        "torch": torch.get_rng_state().tolist(),
        "numpy": (name, np.asarray(keys).tolist(), position, has_gauss, cached),
        "random": random.getstate(),
    }
    if torch.cuda.is_available():
        states["torch.cuda"] = [state.tolist() for state in torch.cuda.get_rng_state_all()]
    return states
