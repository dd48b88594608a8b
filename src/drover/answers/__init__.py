"""Answers to people's questions about a cluster: why is it so (``why``), and what would be if (``whatif``). Pure.

``World.of(objects)`` is one look at the cluster, live or from a file; everything else are functions from it to
``Because`` (a sentence, its rule, the objects, the way out) or to an ``Outcome``. The door that asks (command line, web
page) reads the objects with its user's own rights and prints what comes back, so all doors say the same.

The words are those that conditions and Events say already; ``rules`` adds, per reason, the rule behind it and what to
do about it. It reads no secrets, and nothing here promises that the world stays as it was looked at.
"""
