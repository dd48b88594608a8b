"""drover keeps virtual machines running while their hosts are loaded, serviced and lost.

The rooms of this package, top to bottom (imports go down only, checked by import-linter):
``cli`` | ``lab`` ``sim`` | ``server`` | ``controllers`` ``agent`` | ``runtime`` ``planner`` | ``api`` | ``base``.
ARCHITECTURE.md tells the whole story on one page.
"""

__version__ = "0.1.0"
