"""The camera: sensor modes, pixels, the worker process and the driver's hold on it; knows no INDI."""
