"""Plans a build: measures the time, memory, disk space and operations that it would take."""
