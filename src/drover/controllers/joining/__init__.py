"""The joining controller: judges the requests for certificates of hosts, and signs those of migration streams.

    host, with a bootstrap token   kube-apiserver-client-kubelet   who it is: a new node of that name
    node                           kubelet-serving                 its endpoints, under its name and addresses
    node                           drover.dev/migration            both ends of a migration stream; signed here

A token is for one host: the first request that is approved writes host and key onto it, so that the same host may ask
again and no other may. A node's own renewals of its identity are approved by Kubernetes itself; the first two kinds are
signed by kube-controller-manager.

In a cluster with kubelets theirs are none of its business: it looks at tokens of its own group, and at requests that
are called as its agents call them.

It does not promise that a host is what it says: whoever has a token joins, under a name that is free.
"""
