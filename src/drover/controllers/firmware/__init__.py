"""The firmware controller: brings running VMs to the wanted QEMU, a few at a time, and stops when it fails.

Wanted is ModuleConfig ``virtualization`` ``spec.settings.firmware.version``. A VM that runs on another version gets
one operation ``firmware-update-*`` at a time, within the cluster's limit, and moves; its target starts on the wanted
one (``controllers.migration.target``). A failed one is tried again after 5 s doubling to 5 min. Three failures in a row
over the whole rollout stop it, until the version is set again; so do the annotation ``disable-firmware-update`` and a
version that is taken back.

It owns the condition FirmwareRolledOut and ``status.firmware`` of that ModuleConfig, which number the rollouts: an
operation names the rollout it belongs to, so a restart forgets nothing and repeats nothing.

It must never restart a VM, make a second operation for a VM that has one, or move a VM to a node that does not have the
wanted version.
"""
