#!/usr/bin/env python3
"""Writes tests/core/golden/safetensors_cases.json: small files, whole and broken, with the verdict of the reference.

Needs the package safetensors (0.8.0 was used). Each case is {name, hex, accepted}; "every_dtype" was also
written by the reference, and so carries the values that it was given.
"""

import ctypes
import json
import pathlib
import struct

import safetensors

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/core/golden/safetensors_cases.json"


def packed(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def by_reference():
    """One tensor per dtype, written by the reference itself: values 1, 2, 3 and where it can be, -1."""
    values = {
        "f64": ("float64", struct.pack("<4d", 1, 2, 3, -1)),
        "f32": ("float32", struct.pack("<4f", 1, 2, 3, -1)),
        "f16": ("float16", struct.pack("<4e", 1, 2, 3, -1)),
        "bf16": ("bfloat16", struct.pack("<4H", 0x3F80, 0x4000, 0x4040, 0xBF80)),
        "i64": ("int64", struct.pack("<4q", 1, 2, 3, -1)),
        "i32": ("int32", struct.pack("<4i", 1, 2, 3, -1)),
        "i16": ("int16", struct.pack("<4h", 1, 2, 3, -1)),
        "i8": ("int8", struct.pack("<4b", 1, 2, 3, -1)),
        "u8": ("uint8", bytes([1, 2, 3, 255])),
        "bool": ("bool", bytes([1, 0, 1, 1])),
    }
    shapes = {name: [2, 2] for name in values} | {"none": [0, 3], "scalar": []}
    values |= {"none": ("float32", b""), "scalar": ("float32", struct.pack("<f", 7))}
    buffers = {name: ctypes.create_string_buffer(data, max(1, len(data))) for name, (_, data) in values.items()}
    tensors = {
        name: safetensors.TensorSpec(dtype=dtype, shape=shapes[name], data_ptr=ctypes.addressof(buffers[name]), data_len=len(data))
        for name, (dtype, data) in values.items()
    }
    return bytes(safetensors.serialize(tensors, {"format": "pt"}))


def cases():
    eight = bytes(8)
    yield "every_dtype", by_reference()
    yield "no_tensors", packed({})
    yield "only_metadata", packed({"__metadata__": {"a": "b"}})
    yield "padded_header", packed(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}     ', eight)
    yield "unaligned", packed(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} ', eight)
    yield "zero_size_between", packed({"a": entry(), "b": entry(shape=(0, 5), begin=8, end=8), "c": entry(begin=8, end=16)}, eight * 2)
    yield "scalar", packed({"a": entry(shape=(), end=4)}, bytes(4))
    yield "out_of_name_order", packed({"z": entry(), "a": entry(begin=8, end=16)}, eight * 2)
    yield "unicode_name", packed({"größe \u2603": entry()}, eight)

    yield "empty_file", b""
    yield "seven_bytes", bytes(7)
    yield "length_without_header", struct.pack("<Q", 2)
    yield "length_zero", packed(b"")
    yield "length_beyond_file", packed({"a": entry()}, eight, length=10_000)
    yield "length_over_limit", packed({}, b"", length=100_000_001)
    yield "length_negative", packed({}, b"", length=2**64 - 1)
    yield "not_json", packed(b"{not json}")
    yield "cut_json", packed(b'{"a":{"dtype":"F32"')
    yield "list_header", packed(b"[]")
    yield "leading_space", packed(b" {}")
    yield "not_utf8", packed(b'{"\xff\xfe":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', eight)
    yield "text_after_json", packed(b"{}{}")
    yield "null_entry", packed({"a": None})
    yield "duplicate_name", packed(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', eight)
    yield "unknown_dtype", packed({"a": entry(dtype="F33")}, eight)
    yield "lower_case_dtype", packed({"a": entry(dtype="f32")}, eight)
    yield "no_dtype", packed({"a": {"shape": [2], "data_offsets": [0, 8]}}, eight)
    yield "no_shape", packed({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, eight)
    yield "no_offsets", packed({"a": {"dtype": "F32", "shape": [2]}}, eight)
    yield "three_offsets", packed({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]}}, eight)
    yield "negative_shape", packed({"a": entry(shape=(-2,))}, eight)
    yield "fractional_shape", packed({"a": entry(shape=(2.5,))}, eight)
    yield "text_shape", packed({"a": entry(shape=("2",))}, eight)
    yield "overflowing_shape", packed({"a": entry(shape=(2**33, 2**33))}, eight)
    yield "overflowing_bytes", packed({"a": entry(shape=(2**62,))}, eight)
    yield "wrapping_to_the_right_size", packed({"a": entry(shape=(2**62 + 2,))}, eight)
    yield "huge_number", packed(b'{"a":{"dtype":"F32","shape":[99999999999999999999999],"data_offsets":[0,8]}}', eight)
    yield "shape_smaller_than_offsets", packed({"a": entry(shape=(1,))}, eight)
    yield "shape_larger_than_offsets", packed({"a": entry(shape=(3,))}, eight)
    yield "begin_after_end", packed({"a": entry(begin=8, end=0)}, eight)
    yield "negative_offset", packed({"a": entry(begin=-8, end=0)}, eight)
    yield "overlap", packed({"a": entry(), "b": entry(begin=4, end=12)}, bytes(12))
    yield "same_bytes_twice", packed({"a": entry(), "b": entry()}, eight)
    yield "gap_at_start", packed({"a": entry(begin=4, end=12)}, bytes(12))
    yield "gap_between", packed({"a": entry(), "b": entry(begin=12, end=20)}, bytes(20))
    yield "trailing_byte", packed({"a": entry()}, bytes(9))
    yield "data_without_tensors", packed({}, eight)
    yield "missing_byte", packed({"a": entry()}, bytes(7))
    yield "missing_data", packed({"a": entry()})
    yield "offsets_beyond_file", packed({"a": entry(begin=2**63, end=2**63 + 8)}, eight)
    yield "metadata_not_text", packed({"__metadata__": {"a": 1}})
    yield "metadata_list", packed({"__metadata__": []})
    yield "f8", packed({"a": entry(dtype="F8_E4M3", shape=(8,))}, eight)
    yield "u64", packed({"a": entry(dtype="U64", shape=(1,))}, eight)


def accepted(content):
    try:
        safetensors.deserialize(content)
        return True
    except Exception:  # its one error type is not exported under a stable name
        return False


def main():
    rows = [{"name": name, "hex": content.hex(), "accepted": accepted(content)} for name, content in cases()]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    print(f"{len(rows)} cases, {sum(row['accepted'] for row in rows)} accepted: {OUT}")
    print("accepted:", *(row["name"] for row in rows if row["accepted"]))


if __name__ == "__main__":
    main()
