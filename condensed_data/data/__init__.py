"""What is condensed: any map-style dataset, checked, read once, and held by class and group."""
