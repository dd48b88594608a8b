"""One agent per node: the node's kubelet, and the only room that touches QEMU, the network and the watchdog."""
