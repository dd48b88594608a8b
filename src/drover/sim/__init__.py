"""A datacentre in one process: virtual time, seeded chance, the same controllers and agents."""
