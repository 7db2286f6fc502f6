"""What every other package stands on: specifications, random draws, devices, errors and atomic writes."""
