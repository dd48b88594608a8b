"""The disks controller: makes the file of each VirtualDisk, blank or from an image, and removes it.

    Pending (source not ready) -> Provisioning (progress) -> Ready;  Failed when the source can never do

``status.heldBy`` belongs to the vm controller: it names the one VM that may use the disk, claimed before the VM starts
and freed after its lease is released (safety rule 11). This controller only frees what a VM left behind that exists no
more, after it has read both VM and lease afresh. A held disk is not removed: its deletion waits and says for whom.
"""
