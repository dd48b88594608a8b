"""The moduleconfig controller: says which settings of ModuleConfig ``virtualization`` are not used, and why.

It owns the object's status: the condition SettingsApplied and the message that ``kubectl get mc`` shows; a Warning
Event tells each new problem. It changes no setting. What the settings mean is ``controllers.settings``, which every
controller reads by itself: a setting holds before this controller has said anything about it.
"""
