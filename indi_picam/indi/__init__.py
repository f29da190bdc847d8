"""The INDI protocol: messages, their bytes, properties, devices and the link; knows no camera and no FITS."""
