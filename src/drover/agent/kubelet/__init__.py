"""The kubelet's HTTPS endpoints that make sense for VMs: logs (the serial log), attach (the console), health.

Only the API server may ask: TLS with a client certificate whose common name is ``kube-apiserver-kubelet-client``.
"""
