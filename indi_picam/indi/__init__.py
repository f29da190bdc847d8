"""The INDI protocol: bytes to messages, messages to properties, properties to requests answered.

Knows no camera and no FITS, and imports nothing of ours. Read in this order: ``vectors`` (what a
property is), ``messages`` (what travels), ``decoder`` and ``encoder`` (bytes), ``device``
(properties of one device and their requests), ``link`` (the descriptors to the server), ``config``
(saved settings), ``journal`` (stderr).
"""
