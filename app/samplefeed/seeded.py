"""Everything in the feed follows from a seed: the same parts give the same digest and the same random stream."""

from __future__ import annotations

import hashlib
import random


def digest(*parts: object) -> str:
    """40 hex digits that depend on the parts and on nothing else."""
    return hashlib.sha1("|".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def stream(*parts: object) -> random.Random:
    """A random stream of its own for the parts, so that one thing's dice do not move another's."""
    return random.Random(int(digest(*parts)[:16], 16))
