"""What must hold in every world, checked at every step; one small file each.

``base`` says what a checker is, ``judge`` feeds them all. The letters are those of the list in
ARCHITECTURE.md: S for safety (at each step), L for liveness (after healing).
"""
