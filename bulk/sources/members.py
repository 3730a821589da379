"""Group the members of a tar into samples: a row for each image, and for each WebDataset sample without one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from bulk.errors import FileTooLarge, MissingImage, RowError
from bulk.job import Columns
from bulk.sources.expected_json import is_json, read_expected, read_named_source, too_long
from bulk.sources.sample import MAX_BYTES, PartReader, Sample, failing
from common.tar import End
from common.terminal import printable, quoted
from common.webdataset import Fate, File, Rank, ShardEvent, Unreadable, distinct_path
from gate import Label

# A sample is held until it is complete; a sample above these limits is flushed in pieces.
MAX_MEMBERS = 1_000
_MAX_SAMPLE_BYTES = 2 * MAX_BYTES

_Body = bytes | RowError | None


@dataclass(slots=True, eq=False)
class _SampleMember:
    """One file of a sample: its bytes if they are needed, or its error."""

    name: str
    ending: str
    body: _Body = None
    is_judged: bool = False

    @property
    def stem(self) -> str:
        """The ending without its last part: `x.0.png` and `x.0.json` share one."""
        return self.ending.lower().rpartition(".")[0]


@dataclass(slots=True)
class _Group:
    """Consecutive members with one key.

    `is_long` marks a group that was flushed before it was complete; `json` keeps its `.json` for later members.
    `has_own_json` marks one in which images have a `.json` each.
    """

    key: str
    members: list[_SampleMember] = field(default_factory=list)
    held: list[_SampleMember] = field(default_factory=list)
    json: list[_Body] = field(default_factory=list)
    size: int = 0
    is_long: bool = False
    has_rows: bool = False
    has_own_json: bool = False


class Samples:
    """Makes samples from the events of one tar.

    Args:
        source: the tar's name.
        columns: the fields of a sample's `.json` with the requested label and the source, if they are read.
        whole: whether samples include their other members.
        max_members: of a sample that is held until it is complete.
    """

    def __init__(self, source: str, columns: Columns, *, whole: bool, max_members: int = MAX_MEMBERS) -> None:
        self._source, self._columns, self._whole = source, columns, whole
        self._max_members = max_members
        self._reads_json = columns.expected is not None or columns.source is not None
        self._group = _Group("")
        self._member: _SampleMember | None = None
        self._is_wanted = False
        self._pieces: list[bytes | memoryview] = []

    def take(self, event: ShardEvent) -> Iterator[Sample]:
        """Yield the samples that an event completes."""
        if isinstance(event, File | Unreadable):
            self._member = None
            if event.rank is not Rank.METADATA:
                yield from self._begin(event)
        elif isinstance(event, End):
            yield from self._complete()
        elif self._is_wanted:
            self._pieces.append(event)

    def finish(self, *, is_cut: bool = False) -> Iterator[Sample]:
        """Yield the remaining samples; with `is_cut` the last one may have an image in the unreadable rest."""
        yield from self._flush()
        group = self._group
        if (group.members or group.is_long) and not (group.has_rows or is_cut):
            yield self._without_image(group)
        self._group = _Group("")

    def _begin(self, file: File | Unreadable) -> Iterator[Sample]:
        if file.settled is not None:
            self._settle(self._group.held, is_judged=file.settled is Fate.JUDGE)
        if file.key != self._group.key:
            yield from self.finish()
            self._group = _Group(file.key)
        self._member = _SampleMember(file.name, file.ending, is_judged=file.fate is Fate.JUDGE)
        if file.fate is Fate.HOLD:
            self._group.held.append(self._member)
        self._is_wanted = self._wants(file.ending, file.fate)
        if isinstance(file, Unreadable):
            self._member.body = MissingImage(file.detail)
            yield from self._complete()
        elif (fault := self._fault(file)) is not None:
            self._member.body = fault
            self._is_wanted = False

    def _wants(self, ending: str, fate: Fate | None) -> bool:
        is_read = self._reads_json and is_json(ending)
        return self._whole or is_read or fate in (Fate.JUDGE, Fate.HOLD)

    def _fault(self, file: File) -> RowError | None:
        """Return the error that the header alone shows, so that a decision does not depend on `whole`."""
        if file.size > MAX_BYTES:
            text = f"{quoted(file.name)} has {file.size:,} bytes: at most {MAX_BYTES:,} are read of a member"
            return FileTooLarge(text)
        return too_long(file.size) if self._reads_json and is_json(file.ending) else None

    def _complete(self) -> Iterator[Sample]:
        member, self._member = self._member, None
        if member is None:
            return
        if self._is_wanted and member.body is None:
            member.body = b"".join(self._pieces)
            self._group.size += len(member.body)
        self._pieces.clear()
        self._is_wanted = False
        self._group.members.append(member)
        self._group.has_own_json |= is_json(member.ending) and bool(member.stem)
        if len(self._group.members) >= self._max_members or self._group.size > _MAX_SAMPLE_BYTES:
            yield from self._shorten(self._group)

    def _shorten(self, group: _Group) -> Iterator[Sample]:
        """Flush a group that is not complete, without the last image and its own `.json`, which may be incomplete."""
        group.is_long = True
        last = list(takewhile(lambda each: each.stem == group.members[-1].stem, reversed(group.members)))[::-1]
        # One image with very many members is flushed too: memory is bounded.
        last = last if len(last) < len(group.members) else []
        group.members = group.members[: len(group.members) - len(last)]
        yield from self._flush()
        group.json += [each.body for each in group.members if each.ending.lower() == "json"][:2]
        group.members = last
        group.size = sum(len(each.body) for each in last if isinstance(each.body, bytes))

    def _settle(self, members: Sequence[_SampleMember], *, is_judged: bool) -> None:
        """Decide about the held images among `members`."""
        held = self._group.held
        for member in filter(held.__contains__, members):
            member.is_judged = is_judged
        self._group.held = [member for member in held if member not in members]

    def _flush(self) -> Iterator[Sample]:
        """Yield a sample for each judged image of the group so far."""
        group = self._group
        self._settle(group.members, is_judged=True)
        images = [member for member in group.members if member.is_judged]
        # A single image takes its sample's key as id; several images take their own names.
        by_name = len(images) > 1 or group.is_long
        for image in images:
            group.has_rows = True
            yield self._sample(distinct_path(image.name if by_name else group.key), image, group)

    def _sample(self, name: str, image: _SampleMember, group: _Group) -> Sample:
        """Make the sample of one image."""
        parts = PartReader()
        expected, named = self._named(image, group, parts)
        parts.read(lambda: self._check(image, group))
        beside = [
            (each.ending, each.body) for each in group.members if not each.is_judged and isinstance(each.body, bytes)
        ]
        data = image.body if isinstance(image.body, bytes) else b""
        size = len(data) + sum(len(body) for _, body in beside)
        return Sample(
            name,
            self._source,
            parts.fetch(data),
            size,
            key=group.key,
            ending=image.ending,
            beside=beside,
            expected=expected,
            named_source=named,
        )

    def _check(self, image: _SampleMember, group: _Group) -> None:
        """Check that an image and the members beside it were read.

        Raises:
            RowError: one of them was not.
        """
        for member in [image, *(each for each in group.members if not each.is_judged)]:
            if isinstance(member.body, RowError):
                raise member.body
        if self._whole and group.is_long:
            raise FileTooLarge(
                f"the sample {quoted(group.key)} has more than {self._max_members:,} members or "
                f"{_MAX_SAMPLE_BYTES:,} bytes: too much for --keep. "
                "Members whose names agree up to the first dot are one sample"
            )

    def _named(self, image: _SampleMember, group: _Group, parts: PartReader) -> tuple[Label | None, str | None]:
        """Return the requested label and the source that the sample's `.json` names."""
        label, source = self._columns.expected, self._columns.source
        if not self._reads_json:
            return None, None
        bodies: dict[str, list[_Body]] = {"json": list(group.json)} if group.json else {}
        for member in group.members:
            if is_json(member.ending):
                bodies.setdefault(member.ending.lower(), []).append(member.body)
        if group.is_long and group.has_own_json and image.stem:
            # The image's own one may lie in another piece: the sample's must not take its place.
            bodies.pop("json", None)
        return (
            parts.read(lambda: read_expected(label, image.ending, bodies)) if label is not None else None,
            parts.read(lambda: read_named_source(source, image.ending, bodies)) if source is not None else None,
        )

    def _without_image(self, group: _Group) -> Sample:
        fault = next((each.body for each in group.members if isinstance(each.body, RowError)), None)
        endings = printable(", ".join(f".{member.ending[:40]}" for member in group.members[:20]))
        error = fault or MissingImage(
            f"the sample has no image, only {endings}: the members of a sample must be consecutive in the tar"
        )
        expected, named = self._named(_SampleMember(group.key, ""), group, PartReader())
        return Sample(distinct_path(group.key), self._source, failing(error), expected=expected, named_source=named)
