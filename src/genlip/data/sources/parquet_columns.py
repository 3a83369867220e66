"""Parquet columns: the footers of files -> the columns to read: the image column and others.

In: paths or URLs. Out: footers, and the columns that all files share. No rows are read here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from genlip.data.sources.conversations import PAIRS
from genlip.data.sources.paths import file_system, is_remote
from genlip.data.sources.tables import check_columns
from genlip.model.file_kinds import LFS_POINTER, but_is, head_of, is_lfs_pointer
from genlip.model.files import check_regular, one_line, printable

__all__ = ["Columns", "Footer", "Others", "common_columns", "described", "holds_text", "read_footer"]

# Preferred names if several columns could hold the image.
IMAGE_COLUMNS = ("image", "images", "jpg", "jpeg", "png", "webp", "img", "picture", "image_bytes", "bytes")
_NAMED_AS_IMAGES = ("image", "images", "image_path")  # a file with one of these has images, whatever their type
# Chooses the columns to read beside the image, from a file's path, its schema and the name of the image column.
Others = Callable[[str, pa.Schema, str], tuple[str, ...]]


class Footer(NamedTuple):
    """The footer of a file."""

    schema: pa.Schema
    rows: tuple[int, ...]  # in each row group
    sizes: dict[str, int]  # decoded bytes of each column in the first row group


@dataclass(frozen=True)
class Columns:
    """The columns that are read: the image, its type, and the others. Without an image, both are empty."""

    image: str
    kind: str
    others: tuple[str, ...]


def read_footer(path: str) -> Footer:
    """The footer of a file. Raises FileNotFoundError if it does not exist, ValueError if it is not a Parquet file."""
    try:
        if is_remote(path):
            system, inside = file_system(path)
            with system.open(inside, "rb") as file:
                return _footer(pq.read_metadata(file))
        check_regular(path)
        return _footer(pq.read_metadata(path))
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # not from Arrow, for example a missing file
            raise
        head = b"PAR1" if is_remote(path) else head_of(path)
        if is_lfs_pointer(head):
            raise ValueError(f"{printable(path)}: {LFS_POINTER}") from None
        reason = one_line(str(error)) + but_is(head, "a Parquet file")
        raise ValueError(f"{printable(path)}: not a Parquet file, or damaged: {reason}") from None


def _footer(metadata: pq.FileMetaData) -> Footer:
    rows = tuple(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
    if min(rows, default=0) < 0:
        raise pa.ArrowInvalid(f"a row group of {min(rows)} rows")
    sizes: dict[str, int] = {}
    for number in range(metadata.num_columns if rows else 0):
        column = metadata.row_group(0).column(number)
        name = column.path_in_schema.partition(".")[0]  # a struct is stored as a column per field
        sizes[name] = sizes.get(name, 0) + column.total_uncompressed_size
    return Footer(metadata.schema.to_arrow_schema(), rows, sizes)


def common_columns(
    paths: Sequence[str], footers: Sequence[Footer], others: Others, image_column: str | None, image_needed: bool = True
) -> Columns:
    """The columns to read, which must be the same in all files. Raises ValueError."""
    first = _columns(paths[0], footers[0].schema, others, image_column, image_needed)
    for path, footer in zip(paths, footers, strict=True):
        if footer.schema.equals(footers[0].schema):
            continue
        if (found := _columns(path, footer.schema, others, image_column, image_needed)) != first:
            both = first.image + " and " * bool(first.image) + ", ".join(first.others)
            raise ValueError(
                f"{path}: its columns differ from those of {paths[0]}: {described(footer.schema)}, there "
                f"{described(footers[0].schema)}; both need {both}, found {found}"
            )
    return first


def _columns(path: str, schema: pa.Schema, others: Others, image_column: str | None, image_needed: bool) -> Columns:
    check_columns(schema.names, path)
    if not image_needed and not any(_holds_image(field.type) or field.name in _NAMED_AS_IMAGES for field in schema):
        return Columns("", "", others(path, schema, ""))
    image = _image_column(path, schema, image_column)
    return Columns(image, _kind(schema.field(image).type), others(path, schema, image))


def _kind(image: pa.DataType) -> str:
    """How a column stores its image; the width of lengths may differ between files."""
    if _is_list(image):
        return f"list of {_kind(image.value_type)}"
    return "struct of bytes and path" if pa.types.is_struct(image) else "bytes"


def _image_column(path: str, schema: pa.Schema, wanted: str | None) -> str:
    found = [field.name for field in schema if _holds_image(field.type)]
    usual = [name for name in IMAGE_COLUMNS if name in found]
    if wanted is None and (len(found) == 1 or usual):
        return found[0] if len(found) == 1 else usual[0]
    if wanted in found:
        return wanted  # type: ignore[return-value]
    what = f"image column {wanted!r}" if wanted else "several image columns" if found else "no image column"
    raise ValueError(f"{path}: {what} among {described(schema)}; need one of binary, or struct<bytes: binary, path: string>")


def _holds_image(kind: pa.DataType) -> bool:
    if _is_list(kind):  # each row must hold a list of one image
        return _holds_image(kind.value_type)
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return _is_binary(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def holds_text(kind: pa.DataType) -> bool:
    """Whether a column holds texts, lists of texts, or conversations as lists of structs."""
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return holds_text(kind.value_type)
    if pa.types.is_struct(kind):
        names = {field.name for field in kind}
        return any({*form} <= names for form in (("from", "value"), ("role", "content"), *PAIRS))
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def described(schema: pa.Schema) -> str:
    """The columns of a file with their types, for messages."""
    return ", ".join(f"{field.name} ({field.type})" for field in schema) or "no columns"
