"""Read-only views on API objects, one file per kind."""
