"""The placement controller: moves a running VM when its node does not satisfy what the VM or its class asks for now.

Node selector, affinity and tolerations apply without a restart. A change that the VM's node satisfies moves nothing.
One that it does not gets the VM one operation ``nodeplacement-update-*``, once the wish has stood still for a minute
and a minute after the VM's last move; its target is made from the wish (``controllers.migration.target``). A failed one
is tried again after 5 s doubling to 5 min, as long as the same wish stands. A VM that no node takes waits and says why.

It must never move a VM whose own wish has not changed: what becomes of nodes under it is the rebalancer's business; nor
make a second operation for a VM that has one.
"""
