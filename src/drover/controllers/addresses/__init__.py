"""The addresses controllers: give each VM an address of the VM network and keep it through restarts and moves.

A VirtualMachineIPAddress (claim) says who wants an address; a VirtualMachineIPAddressLease, cluster-wide and named by
the address (``ip-10-66-10-14``), says who has it. Creating that object is the compare-and-swap: two claims can never
get one address, whatever the caches believe. Who names no claim in ``virtualMachineIPAddressName`` gets one of the
VM's own name, which goes with the VM.

A claim that goes leaves its lease Released for ten minutes, so that a VM made anew under the same name gets its old
address, and nobody else gets it while other machines may still have it in mind.

What it must never do: free the address of a VM that exists, or write a claim's spec.
"""
