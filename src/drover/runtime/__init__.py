"""The client machinery that every controller and agent needs: transport, client, informer, queue,
manager.
"""
