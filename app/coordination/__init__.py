"""What workers share through Redis: heartbeats and budgets."""
