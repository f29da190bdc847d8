"""What stands below picamera2 when there is no Pi: sensors, their sky, and a ``libcamera``.

The route of a frame: ``libcamera/`` (in the process that uses the camera) starts ``sensor.py`` as a
process of its own and sends it requests with the buffers to fill; ``stream.py`` decides which frame
a request gets and when; ``picture.py`` makes its pixels out of a sensor (``models.py``,
``truth.py``) looking at a sky (``sky.py``); ``layouts.py`` stores them as the Pi would;
``frame_log.py`` notes what really happened.

Nothing imports this package. It gets in only where this directory is put first on a module path.
What it is told comes from ``settings.py``; what goes wrong on purpose from ``faults.py``. Start
reading with ``truth.py``.
"""
