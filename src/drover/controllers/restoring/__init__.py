"""After etcd was restored from a backup: nothing is decided before every node has said what it runs (safety rule 10).

``decide`` says what each VM's lease must be; ``restorer`` listens, writes, and only then lets the controllers begin.
"""
