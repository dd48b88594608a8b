"""The guests' network on a node: taps in the node's bridge, and a DHCP server that knows this node's guests."""
