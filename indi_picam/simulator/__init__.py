"""What stands below picamera2 when there is no Pi; gets in only through the worker's module path."""
