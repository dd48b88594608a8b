"""The fencing controller: declares a lost node's VMs dead when that is proved, and takes the node away.

``sight`` keeps since when each renewal has been seen, on this process's own clock; ``view`` is one look at a NodeGroup;
``decide`` has every branch from the first suspicion to the return; ``act`` carries out; ``controller`` wires.
"""
