"""What runs jobs, whichever stage they are of: their handlers, what becomes of them, and the direct mode."""
