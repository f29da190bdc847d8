"""The camera: modes, pixels, the worker process and the driver's hold on it; knows no INDI."""
