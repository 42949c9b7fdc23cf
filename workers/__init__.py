"""The worker processes: decode a message, call the stage, translate the outcome."""
