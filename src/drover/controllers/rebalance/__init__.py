"""The rebalancer: moves running VMs off overloaded nodes, and from where a placement rule is broken. As few as can be.

On by ModuleConfig ``descheduler``, by the Descheduler ``virtualization``. When a node has been over a threshold, or a
rule broken, for the settling time, the planner is asked (``problem``), and its answer written as a RebalancePlan before
anything moves (``planobject``). Its moves become operations of type Migrate, one after another and as many at
once as there are slots; each is judged once more on the cluster as it is (``revalidate``). A move that failed or is not
right any more ends the plan, and the next one is made from what is there.

    trouble settled -> RebalancePlan -> (approved) -> rebalance-* -> rebalance-* ... -> Done
                              \\-> a step failed, a rule or the cluster changed: Superseded -> the next plan

It owns RebalancePlans and the status of the Descheduler. All it knows of the past stands in objects: plans are counted
and named by their number, so two controllers cannot make the same one; a step is noted in the plan before its operation
is made, by compare-and-swap, and the operation's name follows from plan and step, so it is made once.

It must never move a VM that somebody else moves or wants to move; put a node over a threshold; have two plans open; or
go before a person's operations and drains: while one of those waits, nothing new is begun.
"""
