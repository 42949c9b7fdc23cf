"""What goes on by itself beside the jobs: reconciling, schedules, webhooks, forgetting what is old."""
