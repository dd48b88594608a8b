"""Operating errors of a control plane. ``str()`` names the object, the rule and the way out, for people."""

from __future__ import annotations


class ControlPlaneError(Exception):
    """Something about this machine keeps its control plane from doing what was asked."""
