"""indi_picam: an INDI driver for Raspberry Pi cameras, in plain Python on picamera2.

The route of a frame. A client's request comes in through :mod:`indi_picam.indi.link`; the device in
:mod:`indi_picam.ccd` turns it into a plan for the engine in :mod:`indi_picam.capture`, which asks
the camera's own process (:mod:`indi_picam.camera.remote` on our side, ``worker`` and ``pi`` on the
other) for a frame. The worker writes the pixels once, into memory that is already laid out as a
FITS file. From there only its descriptor travels: back to the engine, which has
:mod:`indi_picam.fits` write the header into the room left for it, and out through the link to the
server. When everybody has let it go, the worker uses the memory again.

Two kinds of process. The driver process speaks INDI on one asyncio loop and never touches a pixel;
one camera worker for each connected camera owns picamera2, and may hang or die without taking the
INDI device with it.

Where to start reading: ``camera/modes.py`` for the words, ``capture/engine.py`` for an exposure
from start to end, ``ccd/camera_device.py`` for what a client sees. ``client/`` is `picam`, an INDI
client like any other; ``simulator/`` stands below picamera2 where there is no Pi, and nothing here
imports it.
"""

__version__ = "0.1.0"
