"""A supplier's bytes, read into typed data."""
