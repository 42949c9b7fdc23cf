"""What each stage is given and does alike: its surroundings, progress, batches, pauses, the jobs that it leads to."""
