"""The family stage: a family's stored documents in; product, variants, changes and image jobs out, in one commit."""
