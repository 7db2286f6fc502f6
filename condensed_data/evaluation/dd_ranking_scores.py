"""DD-Ranking's scores of given accuracies: how much comes from the samples, and not from labels or augmentation.

Li et al., DD-Ranking: Rethinking the Evaluation of Dataset Distillation, 2025, https://arxiv.org/abs/2505.13300. With
accuracies as fractions, and w a weight in [0, 1]:

    label-robust         alpha = w (condensed_any - random_any) - (1 - w) (whole_hard - condensed_hard)
    augmentation-robust  beta  = w (condensed - random), augmented + (1 - w) (condensed - random), not augmented
    score                (e^alpha - e^-1) / (e - e^-1), and the same of beta: in [0, 1], 0.269 if the difference is 0

Deviations from the package `ddranking` 0.2.0, whose text is the same: accuracies are fractions, while the package puts
percentages into the exponential; they are those of the last epoch by one protocol, while the package takes the best
epoch and the best of five learning rates on the test data.
"""

from __future__ import annotations

import math

from condensed_data.core.annotations import checked


@checked
def label_robust(
    *,
    whole: float,
    condensed: float,
    random: float,
    condensed_any: float | None = None,
    weight: float = 0.5,
) -> float:
    """The label-robust score.

    Args:
        whole: accuracy on the full dataset with hard labels, a fraction.
        condensed: accuracy on the condensed samples with hard labels.
        random: accuracy on as many random samples, with the labels and the training of `condensed_any`.
        condensed_any: accuracy on the condensed samples with whatever labels they have; `condensed` if these are hard.
        weight: of the improvement over random samples; the rest weighs the distance to the full dataset.

    Returns:
        The score in [0, 1]; higher is better.

    Raises:
        ValueError: for an accuracy or a weight outside [0, 1].
    """
    own = condensed if condensed_any is None else condensed_any
    check_fractions(whole=whole, condensed=condensed, random=random, condensed_any=own, weight=weight)
    return _score(weight * (own - random) - (1 - weight) * (whole - condensed))


@checked
def augmentation_robust(
    *, condensed: float, random: float, condensed_plain: float, random_plain: float, weight: float = 0.5
) -> float:
    """The augmentation-robust score.

    Args:
        condensed, random: accuracies on the condensed samples and on as many random ones, trained with augmentation;
            fractions.
        condensed_plain, random_plain: the same without augmentation.
        weight: of the augmented ones.

    Returns:
        The score in [0, 1]; higher is better.

    Raises:
        ValueError: for an accuracy or a weight outside [0, 1].
    """
    check_fractions(condensed=condensed, random=random, weight=weight)
    check_fractions(condensed_plain=condensed_plain, random_plain=random_plain)
    return _score(weight * (condensed - random) + (1 - weight) * (condensed_plain - random_plain))


def check_fractions(**fractions: float) -> None:
    """Raise a ValueError that names the first argument outside [0, 1]."""
    for name, value in fractions.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value!r} must be a fraction in [0, 1]: 0.5 for 50 %.")


def _score(difference: float) -> float:
    return (math.exp(difference) - math.exp(-1)) / (math.e - math.exp(-1))
