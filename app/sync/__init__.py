"""The flow in reading order: start, supplier stage, family stage, image stage."""
