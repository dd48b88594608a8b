"""Operating errors of a lab. ``str()`` names the object, the rule and the way out, for people."""

from __future__ import annotations

from drover.server.errors import ControlPlaneError


class LabError(ControlPlaneError):
    """Something about this machine or this home keeps the lab from doing what was asked."""


class LabBusy(LabError):
    """Another command works on the same home."""


class LabDown(LabError):
    """The lab is not running."""
