"""The promidata-sync command, and the embedded servers of `up`."""
