"""`picam`, the command for people: an INDI client that knows the driver only over the wire."""
