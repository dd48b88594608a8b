"""N+1, shown before it is needed: for every node of a fenced group, would the VMs that start again after its loss find
room on the others?

``decide`` asks the planner; ``controller`` looks every few seconds and writes NodeGroup ``status.standby`` and the
condition ColdStandbyReady. It is a forecast: kube-scheduler has the last word, and the world goes on.
"""
