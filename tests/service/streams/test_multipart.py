import contextlib
import re
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.batch.multipart import FormParser
from service.api.batch.upload_events import ImageEnd, ImageStart, RefusedImage, UploadEvent
from service.errors import MalformedRequest
from tests.service.streams.uploads import BOUNDARY, Member, form, part, split

FORM = form([("a.png", b"first\r\n--"), ("b.png", b""), ("a.png", b"\r\n------boundar" * 3)])

fragments = st.sampled_from([b"\r", b"\n", b"-", b"\r\n--", b"\r\n--" + BOUNDARY[:-1], b"x", b"\0"])
contents = st.binary(max_size=300) | st.lists(fragments, max_size=12).map(b"".join)
names = st.text(st.characters(exclude_characters='"\\', exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)


def parse(pieces: Iterable[bytes]) -> list[Member]:
    """The files in a form that is fed in pieces; it has to be complete."""
    parser = FormParser(BOUNDARY)
    found: list[Member] = []
    name, content = "", b""
    for piece in pieces:
        for event in parser.feed(piece):
            if isinstance(event, ImageStart):
                assert event.size is None
                name, content = event.name, b""
            elif isinstance(event, ImageEnd):
                found.append((name, content))
            elif isinstance(event, bytes | memoryview):
                content += event
    parser.close()
    return found


@given(st.lists(st.tuples(names, contents), min_size=1, max_size=4), st.lists(st.integers(0)))
def test_form_is_parsed_in_any_pieces(members: list[Member], cuts: list[int]) -> None:
    assert parse(split(form(members), cuts)) == members


@pytest.mark.parametrize("cut", range(len(FORM)))
def test_form_is_parsed_when_split_at_any_byte(cut: int) -> None:
    assert parse([FORM[:cut], FORM[cut:]]) == parse(bytes([byte]) for byte in FORM)


def test_empty_unnamed_file_is_an_image() -> None:
    assert parse([form([("", b"")])]) == [("", b"")]


def test_file_name_outside_ascii_is_returned_unchanged() -> None:
    assert parse([form([("Brille-é-眼鏡.png", b"x")])]) == [("Brille-é-眼鏡.png", b"x")]


def test_what_follows_the_end_is_ignored() -> None:
    assert parse([FORM, b"epilogue"]) == parse([FORM])


def one(headers: bytes, content: bytes = b"x") -> list[UploadEvent]:
    """The events of a form of one part."""
    parser = FormParser(BOUNDARY)
    body = b"--" + BOUNDARY + b"\r\n" + headers + b"\r\n\r\n" + content + b"\r\n--" + BOUNDARY + b"--\r\n"
    events = list(parser.feed(body))
    parser.close()
    return events


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (b"filename*=utf-8''%E6%BC%A2.png", "漢.png"),
        (b"filename*=UTF-8'en'a%20b.png", "a b.png"),
        (b"filename*=iso-8859-1''%e9.png", "é.png"),
        (b"filename*0*=utf-8''%E6%BC; filename*1*=%A2.png", "漢.png"),
        (b"filename*=utf-8''%ff%fe.png", "\\xff\\xfe.png"),
        (b"filename*=utf-7''a.png", ""),
        (b"filename*0=a; filename*=UTF-8''b.png", ""),
        (b"filename*x", ""),
        (b"filename*=UTF-8''b.png; filename*0*=utf-8''a; filename*1=c", ""),
        (b"filename*=klingon''a.png", ""),
        (b"filename*=''a.png", "a.png"),
        (b"filename*=a.png", "a.png"),
        (b"filename*=utf-8''a%ZZ%.png", "a%ZZ%.png"),
        (b"filename=\"plain.png\"; filename*=utf-8''%E6%BC%A2.png", "漢.png"),
        (b"filename*=utf-8''%E6%BC%A2.png; filename=\"plain.png\"", "漢.png"),
        (b"filename=\"=?utf-8?B?5rGJLnBuZw==?=\"; filename*=utf-8''%E6%B1%89.png", "汉.png"),
        (b"filename=\"plain.png\"; filename*=klingon''a.png", "plain.png"),
        ('filename="é; filename*=a.png"'.encode(), "é; filename*=a.png"),
        (b'filename="../up/b.png"', "../up/b.png"),
        (b'filename="C:\\\\f\\\\b.png"', r"C:\f\b.png"),
        (b'filename="C:\\f\\b.png"', r"C:\f\b.png"),
        (b'filename="a\\"b.png"', 'a"b.png'),
        (b'filename="=?utf-8?B?YS5wbmc=?="', "=?utf-8?B?YS5wbmc=?="),
        (b'filename="a;b.png"', "a;b.png"),
        (b'filename="\xff.png"', r"\xff.png"),
        (b"filename=bare.png", "bare.png"),
        (b"filename=", ""),
    ],
)
def test_a_part_is_an_image_whatever_its_name(parameters: bytes, name: str) -> None:
    found = one(b'Content-Disposition: form-data; name="f"; ' + parameters)
    assert found == [ImageStart(name, None), b"x", ImageEnd()]


@pytest.mark.parametrize("kind", [b"image/png", b"IMAGE/JPEG; q=1", b"application/octet-stream"])
def test_a_part_without_a_name_is_an_image_if_its_type_says_so(kind: bytes) -> None:
    head = b'Content-Disposition: form-data; name="image"\r\nContent-Type: ' + kind
    assert one(head) == [ImageStart("", None), b"x", ImageEnd()]
    assert one(b"Content-Type: " + kind) == [ImageStart("", None), b"x", ImageEnd()]


@pytest.mark.parametrize(
    ("header", "named"),
    [
        (b"Content-Transfer-Encoding: base64", "Content-Transfer-Encoding 'base64' is not supported"),
        (b"content-transfer-encoding:  Quoted-Printable ", "'quoted-printable'"),
        (b"Content-Encoding: gzip", "Content-Encoding 'gzip' of a part"),
        (b"Content-Type: multipart/mixed; boundary=B", "nested forms"),
    ],
)
def test_part_with_an_unsupported_encoding_is_a_refused_image(header: bytes, named: str) -> None:
    (refused,) = one(b'Content-Disposition: form-data; name="f"; filename="a.png"\r\n' + header, b"eHg=")
    assert isinstance(refused, RefusedImage)
    assert (refused.name, refused.error.code) == ("a.png", "malformed_request")
    assert named in refused.error.detail


NAMED = b'Content-Disposition: form-data; name="f"; filename="a.png"'


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        (
            NAMED + b'\r\nContent-Disposition: form-data; name="f"; filename="b.png"',
            "two values of Content-Disposition",
        ),
        (NAMED + b"\r\nContent-Type: image/png\r\ncontent-type: multipart/mixed", "two values of Content-Type"),
        (NAMED + b"\r\nContent-Encoding: identity\r\nContent-Encoding: gzip", "two values of Content-Encoding"),
        (NAMED + b'; filename="b.png"', "has 'filename' twice"),
        (NAMED + b"; FileName=a.png", "has 'filename' twice"),
        (NAMED + b'; name="g"', "has 'name' twice"),
        (NAMED + b"; filename*=utf-8''a; filename*=utf-8''b", r"has 'filename\*' twice"),
        (NAMED + b"".join(b"; a" for _ in range(1_300)), "has 'a' twice"),
    ],
)
def test_a_part_with_two_values_of_one_thing_is_an_error_of_its_own(headers: bytes, named: str) -> None:
    (refused,) = one(headers)
    assert isinstance(refused, RefusedImage)
    assert re.search(named, refused.error.detail)


@pytest.mark.parametrize(
    "headers",
    [
        NAMED + b"\r\n" + NAMED,
        NAMED.replace(b"a.png", b'a\\"; filename=b; .png'),
        NAMED.replace(b"a.png", b"a; name=b.png"),
        NAMED + b"; ; ;",
        NAMED + b"\r\nContent-Type: multipart/form-data",
        # As .NET and Spring name a file: RFC 6266 has both forms in one header.
        NAMED + b"; filename*=utf-8''a.png",
        b"Content-Type: image/png\r\nContent-Disposition: form-data; name=f; filename=a.png; filename*=utf-8''a.png",
        b'Content-Disposition: form-data; name="f"; filename="=?UTF-8?Q?a=3B.png?="' + b"; filename*=UTF-8''a%3B.png",
        NAMED + b"\r\nX-Any: 1\r\nX-Any: 2",
    ],
)
def test_what_only_looks_like_two_values_is_an_image(headers: bytes) -> None:
    assert isinstance(one(headers)[0], ImageStart)


@pytest.mark.parametrize("transfer", [b"binary", b"8bit", b"7BIT"])
def test_identity_transfer_encodings_are_accepted(transfer: bytes) -> None:
    head = b'Content-Disposition: form-data; name="f"; filename="a.png"\r\nContent-Transfer-Encoding: ' + transfer
    assert one(head) == [ImageStart("a.png", None), b"x", ImageEnd()]


@pytest.mark.parametrize("headers", [b"X: " + b"y" * 20_000, b"X: y\r\n" * 20 + b"X: y"])
def test_headers_of_a_part_are_bounded(headers: bytes) -> None:
    with pytest.raises(MalformedRequest, match="Maximum header"):
        one(headers)


def test_parameters_of_a_part_are_bounded() -> None:
    with pytest.raises(MalformedRequest, match="a Content-Disposition has more than 255 parameters"):
        one(b'Content-Disposition: form-data; filename="a.png"; x="' + b";" * 255)


@pytest.mark.parametrize("data", [b"This is a form.\r\n" + FORM, b"--other\r\n", FORM.replace(b"\r\n", b"\n")])
def test_data_before_the_first_boundary_is_malformed_and_names_the_boundary(data: bytes) -> None:
    with pytest.raises(MalformedRequest, match="must begin with '------boundary7', the boundary of its Content-Type"):
        parse([data])


@pytest.mark.parametrize(
    "rest",
    [b";\r\n filename=a.png", b"\r\nX-A: 1" * 8, b"; filename=" + b"a" * 4_224],
    ids=["two lines", "many", "long"],
)
def test_headers_beyond_the_limits_are_an_error_that_names_them(rest: bytes) -> None:
    text = "a part has at most 8 headers, each a line of at most 4,224 bytes that ends in CR LF"
    with pytest.raises(MalformedRequest, match=text):
        one(b'Content-Disposition: form-data; name="f"' + rest)


def test_memory_is_flat_over_empty_parts() -> None:
    parser, piece = FormParser(BOUNDARY), part("a.png", b"") * 300
    tracemalloc.start()
    try:
        for _ in range(20):
            assert sum(1 for _ in parser.feed(piece)) >= 598
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500_000


def test_a_field_that_is_no_file_is_refused_after_what_came_before_it() -> None:
    parser = FormParser(BOUNDARY)
    field = b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="expected"\r\n\r\nglasses\r\n'
    events = parser.feed(part("a.png", b"x") + field)
    assert [next(events), next(events), next(events)] == [ImageStart("a.png", None), b"x", ImageEnd()]
    with pytest.raises(MalformedRequest, match="'expected' is not a file"):
        next(events)


def test_a_nested_form_without_a_file_name_is_refused_as_one() -> None:
    with pytest.raises(MalformedRequest, match="nested forms"):
        one(b'Content-Disposition: form-data; name="files"\r\nContent-Type: multipart/mixed; boundary=B')


@pytest.mark.parametrize("cut", [0, 1, 30, 100, len(FORM) - 5])
def test_a_form_that_ends_too_early_is_malformed(cut: int) -> None:
    with pytest.raises(MalformedRequest, match="the form ends"):
        parse([FORM[:cut]])


@pytest.mark.parametrize(
    "data", [b"no form", b"--wrong\r\n", part("a", b"") + b"--" + BOUNDARY + b"\r\n:\r\n", FORM.replace(b"C", b"\0")]
)
def test_other_data_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedRequest, match="the form is malformed"):
        parse([data])


LINE = b"--" + BOUNDARY


@pytest.mark.parametrize(
    "between",
    [b"\r\n" + LINE + b"--\r\n" + LINE + b"\r\n", LINE + b"\r\n", b"\n" + LINE + b"\r\n"],
    ids=["closed after each file", "without a line end", "after LF"],
)
@pytest.mark.parametrize("step", [1, 50, 1000])
def test_images_behind_a_misplaced_boundary_are_not_lost_in_silence(between: bytes, step: int) -> None:
    head = b'Content-Disposition: form-data; name="f"; filename="a.png"\r\n\r\nx'
    whole = LINE + b"\r\n" + head + between + head + b"\r\n" + LINE + b"--\r\n"
    with pytest.raises(MalformedRequest, match="does not begin a part, so images are missing"):
        parse(split(whole, range(0, len(whole), step)))


def test_content_that_only_looks_like_a_boundary_is_kept() -> None:
    content = b"--" + BOUNDARY + b"x\r\n--" + BOUNDARY[:-1] + b"--"
    assert one(b'Content-Disposition: form-data; filename="a.png"', content)[1:] == [content, ImageEnd()]


@pytest.mark.parametrize("boundary", [b"", b"x" * 300])
def test_missing_or_invalid_boundary_is_malformed(boundary: bytes) -> None:
    with pytest.raises(MalformedRequest, match="oundary"):
        FormParser(boundary)


@given(st.integers(0, len(FORM) - 1), st.binary(min_size=1, max_size=10), st.lists(st.integers(0)))
def test_damaged_input_raises_malformed_request_only(place: int, damage: bytes, cuts: list[int]) -> None:
    data = FORM[:place] + damage + FORM[place + len(damage) :]
    with contextlib.suppress(MalformedRequest):
        parse(split(data, cuts))
