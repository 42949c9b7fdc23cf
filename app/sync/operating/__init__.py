"""What somebody asks for: a sync, a retry, a cancel, a look at the store; each door calls these."""
