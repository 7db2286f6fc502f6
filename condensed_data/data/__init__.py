"""Sources: any map-style dataset, checked, read once, indexed by class and group, and standardized."""
