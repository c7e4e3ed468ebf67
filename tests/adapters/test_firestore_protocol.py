"""Documents in Firestore's own messages."""

from __future__ import annotations

from datetime import UTC, datetime

from google.cloud.firestore_v1.types import ArrayValue, Document, MapValue, Value
from google.type.latlng_pb2 import LatLng  # type: ignore[import-untyped]

from functions.adapters.firestore_protocol import decode_fields

NOON = datetime(2026, 2, 28, 12, 0, 0, 250_000, UTC)


def decoded(value: Value) -> object:
    return decode_fields(Document(fields={"v": value})._pb.fields)["v"]


def test_every_type_that_documents_have_is_decoded() -> None:
    assert decoded(Value(null_value=0)) is None
    assert decoded(Value(boolean_value=False)) is False
    assert decoded(Value(integer_value=-(2**63))) == -(2**63)
    assert decoded(Value(double_value=0.5)) == 0.5
    assert decoded(Value(string_value="")) == ""
    assert decoded(Value(timestamp_value=NOON)) == NOON
    assert decoded(Value(array_value=ArrayValue(values=[Value(integer_value=1)]))) == [1]
    assert decoded(Value(map_value=MapValue(fields={"a": Value(string_value="b")}))) == {"a": "b"}


def test_decoded_time_is_a_plain_datetime_in_utc() -> None:
    found = decoded(Value(timestamp_value=NOON))
    assert type(found) is datetime
    assert found.tzinfo is UTC


def test_time_before_1970_is_decoded() -> None:
    value = Value(timestamp_value=NOON)
    value._pb.timestamp_value.seconds, value._pb.timestamp_value.nanos = -1, 250_000_000
    assert decoded(value) == datetime(1969, 12, 31, 23, 59, 59, 250_000, UTC)


def test_value_of_another_type_does_not_keep_the_document_from_being_read() -> None:
    place = LatLng(latitude=1, longitude=2)
    assert decoded(Value(geo_point_value=place)) == place
    assert decoded(Value(bytes_value=b"x")) == b"x"
