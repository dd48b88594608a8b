"""The images controllers: fetch what VirtualImages and ClusterVirtualImages name, check it and take it in.

    Pending -> Provisioning (fetch, 0..80 %; take in, 80..100 %) -> Ready
                    |-- cannot work (404, bad checksum, no image) --> Failed
                    '-- may pass (server away, disk full): tried again after 10 s, doubling to 5 min

A source is an ``http(s)`` URL, or a ``file`` URL of the host the controllers run on. The latter only for
ClusterVirtualImages: whoever may create images in one namespace must not read this host's files through them, nor
reach services of this host or the cluster by an ``http`` URL (``guard``). Content is judged by what it is (qcow2
without a backing file, or raw with a partition table or file system), never by its name.

An image in use, by a VM or by a disk that is being made from it, is not removed; its deletion says for whom it waits.
"""
