"""The control plane of one machine: its parts, their supervisor, certificates and backups.

A host that ``drover server`` makes one of has it alone; the lab has one among its namespaces.
"""
