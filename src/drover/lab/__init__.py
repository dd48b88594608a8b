"""A datacentre on one machine: real processes in Linux namespaces."""
