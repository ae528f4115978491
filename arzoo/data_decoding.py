"""Rows of a data set as tensors: what `decode` of a DatasetSpec is made of."""

import io
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from arzoo.data import DatasetSpec, Examples

if TYPE_CHECKING:
    from datasets import Dataset


def decode_images(spec: DatasetSpec, rows: "Mapping[str, Dataset]") -> dict[str, Examples]:
    """Decodes a column of 8-bit image files, and context columns of class labels.

    Arguments:
        spec: What the data set is; its event shape is (C, H, W) with C = 1 for grey and 3 for RGB.
        rows: The rows of each split.

    Returns:
        The examples of each split, events as uint8.
    """
    from datasets import ClassLabel

    decoded = {}
    for split, split_rows in rows.items():
        context, labels = {}, {}
        for name, column in spec.context.items():
            feature = split_rows.features[column]
            if not isinstance(feature, ClassLabel):
                raise ValueError(f"column {column!r} of data set {spec.name!r} has no class labels but {feature}")
            context[name] = torch.tensor(split_rows[column][:])
            labels[name] = tuple(feature.names)
        decoded[split] = Examples(x=_decode_pixels(spec, split_rows), context=context, labels=labels)
    return decoded


def decode_vectors(spec: DatasetSpec, rows: "Mapping[str, Dataset]") -> dict[str, Examples]:
    """Decodes a column of numbers, or of lists with as many numbers as an event has sites.

    Arguments:
        spec: What the data set is.
        rows: The rows of each split.

    Returns:
        The examples of each split, without context: real values as float32, categories as uint8 or int64.
    """
    return {split: Examples(x=_storable(spec, read_vectors(spec, split_rows))) for split, split_rows in rows.items()}


def read_vectors(spec: DatasetSpec, rows: "Dataset") -> Tensor:
    """The column of the events with the numbers as they are stored, shape (N, *E)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column, size = rows.with_format("arrow")[:][spec.column].combine_chunks(), prod(spec.event_shape)
    nested = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    values = column.flatten() if nested else column
    where = f"column {spec.column!r} of data set {spec.name!r}"
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise ValueError(f"{where} must hold numbers or lists of them, it holds {column.type}")
    if column.null_count or values.null_count:
        raise ValueError(f"{where} lacks values")
    sizes = set(pc.list_value_length(column).unique().to_pylist()) if nested else {1}
    if sizes != {size}:
        raise ValueError(f"{where} has {min(sizes)} to {max(sizes)} numbers a row, its event shape asks for {size}")
    return torch.from_numpy(values.to_numpy().copy()).reshape(len(rows), *spec.event_shape)


def check_columns_vary(spec: DatasetSpec, train: Tensor) -> None:
    """Refuses training events (N, *E) with a real scalar of one value: a density may grow there without bound.

    Raises:
        ValueError: Names the column.
    """
    flat = train.reshape(len(train), -1)
    constant = (flat.amin(0) == flat.amax(0)).nonzero().flatten().tolist()
    if constant:
        raise ValueError(
            f"column {constant[0]} of data set {spec.name!r}, counted from 0, is {float(flat[0, constant[0]])} in all "
            f"training rows and has no density; leave it out"
        )


def _storable(spec: DatasetSpec, x: Tensor) -> Tensor:
    if spec.num_categories is None:
        return x.float()
    return x if x.dtype == torch.uint8 or x.is_floating_point() else x.long()


def _decode_pixels(spec: DatasetSpec, rows: "Dataset") -> Tensor:
    import numpy as np
    from datasets import Image
    from PIL import Image as Picture

    channels, height, width = spec.event_shape
    if not isinstance(spec.num_categories, int):
        raise ValueError(
            f"num_categories of data set {spec.name!r} must be one number, as for all images, got {spec.num_categories}"
        )
    pixels = np.empty((len(rows), height, width, channels), dtype=np.uint8)
    files = rows.select_columns(spec.column).cast_column(spec.column, Image(decode=False))
    index = 0
    for batch in files.iter(batch_size=1000):
        for file in batch[spec.column]:
            picture = Picture.open(io.BytesIO(file["bytes"]))
            image = picture.convert("L") if picture.mode == "1" else picture
            shape = (len(image.mode), image.height, image.width)
            if image.mode not in ("L", "RGB") or shape != spec.event_shape:
                raise ValueError(
                    f"image {index} of data set {spec.name!r} has {image.height}x{image.width} pixels of "
                    f"mode {image.mode!r}, its event shape {spec.event_shape} asks for {height}x{width} of "
                    f"mode {'RGB' if channels == 3 else 'L'!r}"
                )
            pixels[index] = np.asarray(image).reshape(height, width, channels)
            index += 1
    return quantize(torch.from_numpy(pixels).movedim(3, 1).contiguous(), spec.num_categories)  # (N, C, H, W)


def quantize(levels: Tensor, num_categories: int) -> Tensor:
    """The categories that 8-bit levels fall into, K of equal width: for K = 2 black is below 128.

    Arguments:
        levels: 0..255, uint8, any shape.
        num_categories: K, at most 256.

    Returns:
        0..K-1, uint8, of the same shape.
    """
    if num_categories == 256:
        return levels
    table = (torch.arange(256) * num_categories // 256).to(torch.uint8)
    return table[levels.int()]
