"""Finished runs against each other, and against an acceptance protocol.

Everything here starts from the files of an output folder: nothing is computed again,
and neither the images nor the network are needed.
"""
