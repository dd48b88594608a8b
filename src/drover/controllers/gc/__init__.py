"""The gc controller: keeps the past short.

Of finished VirtualMachineOperations the ten newest per VM are kept, and none older than a day; of Pods that carried a
VM and have ended, the two newest. The key is namespace and name of the VM: equal names in two namespaces do not share a
budget. It removes nothing that is unfinished, and no Pod that holds a lease.
"""
