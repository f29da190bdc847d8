"""What setup.cfg has no words for: the compiled module. All else is there."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "indi_picam.camera.pixel_pass",
            ["indi_picam/camera/pixel_pass.c"],
            extra_compile_args=["-O3"],
            py_limited_api=True,
        )
    ]
)
