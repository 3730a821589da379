"""The tables of the store, the same in SQLite and PostgreSQL. Times are microseconds since 1970, UTC."""

import re
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    true,
)

SCHEMA_VERSION = 4
"""A change to the tables takes the next number, and a migration in `migrations.py`."""

STEP_SECONDS = 15
"""Length of the steps in which decisions and failures are counted."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Verdict(StrEnum):
    """A reviewer's verdict on an image: a label, or unclear."""

    GLASSES = "glasses"
    NO_GLASSES = "no_glasses"
    UNCLEAR = "unclear"


def storable_text(text: str) -> str:
    """Replace characters that a text column cannot hold by U+FFFD: NUL in PostgreSQL, lone surrogates in both."""
    return _UNSTORABLE.sub("\ufffd", text)


metadata = MetaData()

schema = Table("lensgate_schema", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

# `record` is a ULID: it sorts by time, and, unlike the caller's `id`, no two decisions share one.
decisions = Table(
    "decisions",
    metadata,
    Column("record", String(26), primary_key=True),
    Column("id", String(160), nullable=False),
    Column("time", BigInteger, nullable=False, index=True),
    # NULL if the preview worker had no time for it.
    Column("sha256", String(64), index=True),
    Column("probability", Float(53), nullable=False),
    Column("novelty", Float(53)),
    Column("label", String(16), nullable=False),
    Column("decision", String(16), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("expected", String(16)),
    Column("band_low", Float(53), nullable=False),
    Column("band_high", Float(53), nullable=False),
    Column("model", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("latency_ms", Float(53), nullable=False),
    # Member of the random audit sample of accepted images.
    Column("audit", Boolean, nullable=False),
    # The caller's name of the generator, checkpoint or run.
    Column("source", String(128)),
    # How the audit drew it, the probability of that, and the weight in estimates; the probability of draws by earlier
    # releases is unknown.
    Column("draw", String(16)),
    Column("draw_probability", Float(53)),
    Column("draw_weight", Float(53)),
    # The limit that the novelty was compared with, and the times of the stages in milliseconds; NULL where unknown.
    Column("novelty_threshold", Float(53)),
    Column("read_ms", Float(53)),
    Column("queue_ms", Float(53)),
    Column("decode_ms", Float(53)),
    Column("inference_ms", Float(53)),
)
# For the newest decision with an id; callers may use one id for all images.
Index("decisions_named", decisions.c.id, decisions.c.record)
# For the decisions of one source in a span of time, as records sort by time.
Index(
    "decisions_sourced",
    decisions.c.source,
    decisions.c.record,
    sqlite_where=decisions.c.source.is_not(None),
    postgresql_where=decisions.c.source.is_not(None),
)
Index(
    "decisions_discarded",
    decisions.c.record,
    sqlite_where=decisions.c.decision == "discard",
    postgresql_where=decisions.c.decision == "discard",
)
Index(
    "decisions_contradicted",
    decisions.c.record,
    sqlite_where=decisions.c.reason == "contradicted",
    postgresql_where=decisions.c.reason == "contradicted",
)
Index(
    "decisions_audited",
    decisions.c.record,
    sqlite_where=decisions.c.audit == true(),
    postgresql_where=decisions.c.audit == true(),
)

# JPEG, at most 256 x 256: of every discarded image, and of the audit sample.
images = Table(
    "images",
    metadata,
    Column("record", ForeignKey(decisions.c.record, ondelete="CASCADE"), primary_key=True),
    Column("bytes", Integer, nullable=False),
    Column("jpeg", LargeBinary, nullable=False),
)
# Counts sizes without reading the JPEGs.
Index("images_bytes", images.c.record, images.c.bytes)

# Reviewers' verdicts. A decision with a verdict is never deleted for its age.
verdicts = Table(
    "verdicts",
    metadata,
    Column("record", ForeignKey(decisions.c.record, ondelete="CASCADE"), primary_key=True),
    Column("verdict", String(16), nullable=False),
    Column("reviewer", String(128), nullable=False),
    Column("time", BigInteger, nullable=False),
)

# Verdicts of second readers on audited images, given without knowledge of the first.
second_verdicts = Table(
    "second_verdicts",
    metadata,
    Column("record", ForeignKey(decisions.c.record, ondelete="CASCADE"), primary_key=True),
    Column("verdict", String(16), nullable=False),
    Column("reviewer", String(128), nullable=False),
    Column("time", BigInteger, nullable=False),
)

# The decisions of a shadow version on drawn images about which it differs.
shadow_decisions = Table(
    "shadow_decisions",
    metadata,
    Column("record", ForeignKey(decisions.c.record, ondelete="CASCADE"), primary_key=True),
    Column("version", String(64), nullable=False),
    Column("probability", Float(53), nullable=False),
    Column("label", String(16), nullable=False),
    Column("decision", String(16), nullable=False),
)

# Number of audited images deleted without a verdict; the audit counts them as drawn.
lost_audits = Table(
    "lost_audits",
    metadata,
    Column("version", String(64), primary_key=True),
    Column("band_low", Float(53), primary_key=True),
    Column("band_high", Float(53), primary_key=True),
    Column("images", BigInteger, nullable=False),
    # Sum of their weights.
    Column("weight", Float(53), nullable=False),
)

# Images reserved for one reviewer until `expires`.
claims = Table(
    "claims",
    metadata,
    Column("record", ForeignKey(decisions.c.record, ondelete="CASCADE"), primary_key=True),
    Column("reviewer", String(128), nullable=False, index=True),
    Column("expires", BigInteger, nullable=False),
)

# Images that a reviewer left to others.
skips = Table(
    "skips",
    metadata,
    Column("record", ForeignKey(decisions.c.record, ondelete="CASCADE"), primary_key=True),
    Column("reviewer", String(128), primary_key=True),
    Column("time", BigInteger, nullable=False),
)

# Decisions counted in steps of `STEP_SECONDS`.
outcomes = Table(
    "outcomes",
    metadata,
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("version", String(64), primary_key=True),
    Column("label", String(16), primary_key=True),
    Column("reason", String(16), primary_key=True),
    Column("images", BigInteger, nullable=False),
)

# Failed requests, and failed images of uploads, counted in the same steps.
failures = Table(
    "failures",
    metadata,
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("code", String(64), primary_key=True),
    Column("images", BigInteger, nullable=False),
)

# A few examples of each code.
failed_requests = Table(
    "failed_requests",
    metadata,
    Column("record", String(26), primary_key=True),
    Column("time", BigInteger, nullable=False),
    # NULL for one image of an upload.
    Column("status", Integer),
    Column("code", String(64), nullable=False),
    Column("detail", String(500), nullable=False),
    Column("path", String(256), nullable=False),
    Column("request_id", String(128), nullable=False, index=True),
    Column("id", String(160), index=True),
    Column("source", String(128)),
    Column("token", String(64)),
)
Index("failed_requests_coded", failed_requests.c.code, failed_requests.c.record)
