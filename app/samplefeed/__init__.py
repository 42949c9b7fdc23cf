"""A feed made and served by the project: fixture of the tests, origin of the demo and the bench."""
