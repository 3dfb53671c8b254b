"""The links between the processes of one server: what each end is to the code on its side.

A listener process finds in the core process its brokers (`broker`) and its PHP workers (`pool`). The core has
a subscriber for each listener and broker (`listeners`).
"""
