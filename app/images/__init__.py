"""Picture bytes: download, inspection, object store."""
