"""The supplier stage: a manifest in, documents stored and family jobs out. The flow is in stage.py, a step a file."""
