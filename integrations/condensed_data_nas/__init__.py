"""Search for architectures and hyper-parameters on a condensed dataset, and measure how far to trust the ranking.

    from condensed_data_nas import ProxyObjective, convnet_space, rank_report

    objective = ProxyObjective(condensed, space=convnet_space(), val=real_val, epochs=100)
    study.optimize(objective, n_trials=200)

Optuna (`pip install condensed-data[nas]`) and Ray (`[ray]`) are imported on first use.
"""

from condensed_data_nas.cascade import Cascade, Stage, cascade
from condensed_data_nas.objective import ProxyObjective
from condensed_data_nas.ranking import rank_report
from condensed_data_nas.report import RankReport
from condensed_data_nas.space import Range, convnet, convnet_space, grid, sample
from condensed_data_nas.trial_result import Result
from condensed_data_nas.zero_cost import ZeroCost

__all__ = ["Cascade", "ProxyObjective", "Range", "RankReport", "Result", "Stage", "ZeroCost"]
__all__ += ["cascade", "convnet", "convnet_space", "grid", "rank_report", "sample"]
