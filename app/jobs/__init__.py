"""The queue contract: arguments, states, and the dispatch through ARQ's data model."""
