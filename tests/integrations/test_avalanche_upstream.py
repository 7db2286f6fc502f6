"""Avalanche's own tests pass with CondensedBuffer in place of ClassBalancedBuffer; run from the installed wheel.

Tests that do not apply, and why:

* `test_dictionary_mbatches.py`: items are dictionaries, which CondensedBuffer refuses with a message.
* `StrategyTest::test_bic`: BiC passes `verbose` to a scheduler, which torch removed in 2.7.
* `StrategyTest::test_der`, `test_mer`, `test_icarl`, `test_gss`: their memories are private classes, which cannot be
  swapped.
* `ParametricBufferTest`, `SelectionStrategyTest`: other storage policies.
* `test_replay_flattening` checks datasets without a buffer; `test_class_balanced_replay_flattening` checks index
  lists that grow with every update; it runs with CondensedBuffer, which has none.
* `test_replay_loader.py`: needs the files of MNIST.

ER_AML draws whole batches of single classes and loops forever if a class keeps fewer samples; CondensedBuffer refuses
that, Avalanche's own memory does not. Its test keeps enough. Every test has a time limit, so that one that hangs is
named.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = (
    "tests.training.test_replay",
    "tests.training.test_strategies",
    "tests.training.test_update_utils",
)
APPLY = (
    "test_replay_balanced_memory or test_balancing or test_replay_flattening or test_class_balanced_replay_flattening "
    "or StrategyTest and (test_replay or test_gdumb or test_cope or test_mir or test_erace or test_eraml "
    "or test_feature_replay or test_scr) or UpdateNCMTest or UpdateFeCAMTest"
)
TIME_LIMIT = 240  # seconds per test


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_avalanches_own_tests_pass_with_condensed_buffer(tmp_path: Path) -> None:
    # in an empty folder: in the repository, `tests` is another package
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "integrations", ROOT / "tests" / "support"))),
        "FAST_TEST": "true",
        "OMP_NUM_THREADS": "1",
    }
    words = ["-q", "-p", "avalanche_swap", "-p", "no:cacheprovider", "-k", APPLY, f"--timeout={TIME_LIMIT}"]
    found = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "--pyargs", *TESTS],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    text = found.stdout + found.stderr
    assert found.returncode == 0, text[-6000:]
    passed = re.search(r"(\d+) passed", text)
    made = re.search(r"buffers swapped: (\d+)", text)
    assert passed is not None
    assert int(passed[1]) >= 10
    assert made is not None
    assert int(made[1]) >= 10
