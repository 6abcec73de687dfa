"""What two independent decoders show of a file: pixels, or that they refuse it."""

from __future__ import annotations

import io
import warnings
from hashlib import sha256
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageSequence


def pillow(data: bytes, upright: bool = False) -> str | None:
    """Returns a digest of what Pillow decodes, None if it refuses; `upright`: of the sorted pixels.

    All frames of an animation count; of a JPEG file the first picture, as the others are files of their own.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                all_frames = ImageSequence.Iterator(image)
                frames = [next(all_frames).copy()] if image.format == "MPO" else [frame.copy() for frame in all_frames]
    except Exception:  # a decoder may raise anything
        return None
    arrays = [np.asarray(f.convert("RGBA") if f.mode == "P" or "transparency" in f.info else f) for f in frames]
    return _digest(arrays, upright)


def opencv(data: bytes, upright: bool = False) -> str | None:
    """Returns a digest of all frames that OpenCV decodes, None if it refuses; `upright`: of the sorted pixels."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    raw = np.frombuffer(data, np.uint8).reshape(1, -1)
    if not data:
        return None
    if data[8:12] == b"WEBP" and b"ANMF" in data:
        done, animation = cv2.imdecodeanimation(raw)
        return _digest([np.asarray(frame) for frame in animation.frames], upright) if done else None
    try:
        image = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return None if image is None else _digest([image], upright)


def _digest(arrays: list[np.ndarray[Any, Any]], upright: bool) -> str:
    digest = sha256()
    for array in arrays:
        if upright:
            array = np.sort(array.reshape(-1, array.shape[-1] if array.ndim == 3 else 1), axis=0)
        digest.update(repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
