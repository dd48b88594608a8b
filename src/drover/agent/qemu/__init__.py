"""The real Hypervisor: QEMU, driven by its monitor (QMP).

Reading order: ``settings`` (what a node is told), ``files`` (where a copy keeps its things),
``commandline`` (a spec becomes an argv, pure), ``monitor`` (sessions with time limits), ``machine``
(one copy), ``hypervisor`` (all of a node). Processes belong to nodeinit (``agent.spawner``), so
they outlive the agent and are adopted by their sockets.

Nothing here decides who may run: it says what QEMU says, and does as told.
"""
