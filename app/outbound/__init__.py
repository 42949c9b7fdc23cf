"""The one way out: address check, and an HTTP client with limits and time-outs."""
