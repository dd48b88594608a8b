"""A model of the Kubernetes API for the simulation and for tests of controllers.

``ApiModel(clock, ids).transport(user, groups)`` gives a ``Transport`` for that identity;
``ApiModel.objects`` shows what is stored. See ``model`` for what it knows and what it does not.
"""

from drover.sim.api.admission import Caller, Review
from drover.sim.api.model import ApiModel
from drover.sim.api.transport import ModelTransport

__all__ = ["ApiModel", "Caller", "ModelTransport", "Review"]
