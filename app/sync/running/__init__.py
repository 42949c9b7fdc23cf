"""What runs a job, whichever stage it is of, and what every stage stands on."""
