"""The classes controller: says whether a VirtualMachineClass can be used, where, and by whom it is.

A class is Ready when some node of ours fits its nodeSelector; without one it is Pending and VMs of it do not start.
A class that VMs name is not removed: its deletion waits and says for whom. The default class also counts for VMs that
name none.
"""
