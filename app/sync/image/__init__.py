"""The image stage: an address in; a stored picture, and everything that shows the address shows it."""
