import contextlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MalformedRequest
from service.streams.multipart import FormParser
from service.streams.parts import Begin, End
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
            if isinstance(event, Begin):
                assert event.size is None
                name, content = event.name, b""
            elif isinstance(event, End):
                found.append((name, content))
            else:
                content += event
    parser.close()
    return found


@given(st.lists(st.tuples(names, contents), min_size=1, max_size=4), st.lists(st.integers(0)))
def test_any_form_in_any_pieces(members: list[Member], cuts: list[int]) -> None:
    assert parse(split(form(members), cuts)) == members


@pytest.mark.parametrize("cut", range(len(FORM)))
def test_a_form_in_two_pieces_however_it_is_cut(cut: int) -> None:
    assert parse([FORM[:cut], FORM[cut:]]) == parse(bytes([byte]) for byte in FORM)


def test_a_file_without_a_name_that_comes_empty_is_still_one() -> None:
    assert parse([form([("", b"")])]) == [("", b"")]


def test_a_name_in_any_letters() -> None:
    assert parse([form([("Brille-é-眼鏡.png", b"x")])]) == [("Brille-é-眼鏡.png", b"x")]


def test_what_follows_the_end_is_ignored() -> None:
    assert parse([FORM, b"epilogue"]) == parse([FORM])


def test_a_field_that_is_no_file_is_refused_after_what_came_before_it() -> None:
    parser = FormParser(BOUNDARY)
    field = b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="expected"\r\n\r\nglasses\r\n'
    events = parser.feed(part("a.png", b"x") + field)
    assert [next(events), next(events), next(events)] == [Begin("a.png", None), b"x", End()]
    with pytest.raises(MalformedRequest, match="'expected' is no file"):
        next(events)


@pytest.mark.parametrize("cut", [0, 1, 30, 100, len(FORM) - 5])
def test_a_form_that_ends_too_early_is_malformed(cut: int) -> None:
    with pytest.raises(MalformedRequest, match="the form ends"):
        parse([FORM[:cut]])


@pytest.mark.parametrize(
    "data", [b"no form", b"--wrong\r\n", part("a", b"") + b"--" + BOUNDARY + b"\r\n:\r\n", FORM.replace(b"C", b"\0")]
)
def test_what_is_no_form_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedRequest, match="the form is malformed"):
        parse([data])


@pytest.mark.parametrize("boundary", [b"", b"x" * 300])
def test_a_boundary_that_is_none(boundary: bytes) -> None:
    with pytest.raises(MalformedRequest, match="oundary"):
        FormParser(boundary)


@given(st.integers(0, len(FORM) - 1), st.binary(min_size=1, max_size=10), st.lists(st.integers(0)))
def test_damage_of_any_kind_is_malformed_at_most(place: int, damage: bytes, cuts: list[int]) -> None:
    data = FORM[:place] + damage + FORM[place + len(damage) :]
    with contextlib.suppress(MalformedRequest):
        parse(split(data, cuts))
