"""Clients and publishers that try to stop a server, each kind in its own way and as a process of its own.

`kinds.py` has the list. An attack is a generator that does a piece of harm at each step; the bytes are
prepared before, so that an attacker has little work of its own and the server has much.
"""
