"""The flow: each folder is a stage, or what stands around the stages."""
