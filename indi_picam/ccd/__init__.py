"""The INDI CCD device: what a client sees of a camera, group by group."""
