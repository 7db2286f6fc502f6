"""Studies of finished condensed datasets: baselines, DD-Ranking, diversity, label switching, privacy."""
