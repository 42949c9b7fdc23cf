"""The family stage: families' stored documents in; products, variants, changes and image jobs out, in one commit."""
