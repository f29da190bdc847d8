"""Size and Rectangle; libcamera's geometry as far as picamera2 and its users touch it."""

from __future__ import annotations

from typing import Any

from .casting import instance, integer, unsigned


class Size:
    """A width and a height, both unsigned."""

    def __init__(self, width: int = 0, height: int = 0) -> None:
        self._width, self._height = unsigned(width), unsigned(height)

    @property
    def width(self) -> int:
        """In pixels."""
        return self._width

    @width.setter
    def width(self, value: int) -> None:
        self._width = unsigned(value)

    @property
    def height(self) -> int:
        """In pixels."""
        return self._height

    @height.setter
    def height(self, value: int) -> None:
        self._height = unsigned(value)

    @property
    def is_null(self) -> bool:
        """Whether both are 0."""
        return not (self._width or self._height)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Size):
            return NotImplemented
        return (self._width, self._height) == (other._width, other._height)

    __hash__ = None  # type: ignore[assignment]  # as pybind11 does where == is defined

    def __str__(self) -> str:
        return f"{self._width}x{self._height}"

    def __repr__(self) -> str:
        return f"libcamera.Size({self._width}, {self._height})"


class Rectangle:
    """A place and a size: made of nothing, (Size), (x, y, Size) or (x, y, width, height)."""

    def __init__(self, *args: Any) -> None:
        x, y, size = 0, 0, Size()
        match args:
            case ():
                pass
            case (only,):
                size = instance(only, Size)
            case (x, y, size):
                instance(size, Size)
            case (x, y, width, height):
                size = Size(width, height)
            case _:
                raise TypeError("incompatible constructor arguments for Rectangle")
        self._x, self._y = integer(x), integer(y)
        self._size = Size(size.width, size.height)

    @property
    def x(self) -> int:
        """Of the left edge."""
        return self._x

    @x.setter
    def x(self, value: int) -> None:
        self._x = integer(value)

    @property
    def y(self) -> int:
        """Of the top edge."""
        return self._y

    @y.setter
    def y(self, value: int) -> None:
        self._y = integer(value)

    @property
    def width(self) -> int:
        """In pixels."""
        return self._size.width

    @width.setter
    def width(self, value: int) -> None:
        self._size.width = value

    @property
    def height(self) -> int:
        """In pixels."""
        return self._size.height

    @height.setter
    def height(self, value: int) -> None:
        self._size.height = value

    @property
    def is_null(self) -> bool:
        """Whether its size is 0."""
        return self._size.is_null

    @property
    def size(self) -> Size:
        """A copy of its size."""
        return Size(self.width, self.height)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rectangle):
            return NotImplemented
        return (self._x, self._y) == (other._x, other._y) and self._size == other._size

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"({self._x}, {self._y})/{self._size}"

    def __repr__(self) -> str:
        return f"libcamera.Rectangle({self._x}, {self._y}, {self.width}, {self.height})"
