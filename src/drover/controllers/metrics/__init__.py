"""Figures for Prometheus, under the names of the reference platform, and ours beside them.

Nothing is counted as it happens: at each scrape the families are made anew from the caches, so a restart loses nothing
and no figure drifts. Only the two histograms remember something, which finished migrations they have taken in, since
finished migrations are deleted after a while and a histogram may not shrink.

- ``series.py``: one family and its samples.
- ``vms.py``, ``operations.py``, ``others.py``: what users of the reference platform know.
- ``moves.py``: queue, waiting, durations, downtimes, the backlog of evacuations.
- ``exposition.py``: all of them together, as text.

It only reads. Names and labels are listed in docs/metrics.md, which a test holds against the code.
"""
