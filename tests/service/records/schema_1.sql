-- The tables of schema version 1. In SQLite, BYTEA is BLOB and FLOAT(53) is FLOAT.
CREATE TABLE decisions (
    record VARCHAR(26) NOT NULL,
    id VARCHAR(160) NOT NULL,
    time BIGINT NOT NULL,
    sha256 VARCHAR(64),
    probability FLOAT(53) NOT NULL,
    novelty FLOAT(53),
    label VARCHAR(16) NOT NULL,
    decision VARCHAR(16) NOT NULL,
    reason VARCHAR(16) NOT NULL,
    expected VARCHAR(16),
    band_low FLOAT(53) NOT NULL,
    band_high FLOAT(53) NOT NULL,
    model VARCHAR(64) NOT NULL,
    version VARCHAR(64) NOT NULL,
    latency_ms FLOAT(53) NOT NULL,
    audit BOOLEAN NOT NULL,
    PRIMARY KEY (record)
);
CREATE INDEX decisions_audited ON decisions (record) WHERE audit = true;
CREATE INDEX decisions_discarded ON decisions (record) WHERE decision = 'discard';
CREATE INDEX decisions_named ON decisions (id, record);
CREATE INDEX ix_decisions_sha256 ON decisions (sha256);
CREATE INDEX ix_decisions_time ON decisions (time);
CREATE TABLE lensgate_schema (
    version INTEGER NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE lost_audits (
    version VARCHAR(64) NOT NULL,
    band_low FLOAT(53) NOT NULL,
    band_high FLOAT(53) NOT NULL,
    images BIGINT NOT NULL,
    PRIMARY KEY (version, band_low, band_high)
);
CREATE TABLE claims (
    record VARCHAR(26) NOT NULL,
    reviewer VARCHAR(128) NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (record),
    FOREIGN KEY(record) REFERENCES decisions (record) ON DELETE CASCADE
);
CREATE INDEX ix_claims_reviewer ON claims (reviewer);
CREATE TABLE images (
    record VARCHAR(26) NOT NULL,
    bytes INTEGER NOT NULL,
    jpeg BYTEA NOT NULL,
    PRIMARY KEY (record),
    FOREIGN KEY(record) REFERENCES decisions (record) ON DELETE CASCADE
);
CREATE INDEX images_bytes ON images (record, bytes);
CREATE TABLE skips (
    record VARCHAR(26) NOT NULL,
    reviewer VARCHAR(128) NOT NULL,
    time BIGINT NOT NULL,
    PRIMARY KEY (record, reviewer),
    FOREIGN KEY(record) REFERENCES decisions (record) ON DELETE CASCADE
);
CREATE TABLE verdicts (
    record VARCHAR(26) NOT NULL,
    verdict VARCHAR(16) NOT NULL,
    reviewer VARCHAR(128) NOT NULL,
    time BIGINT NOT NULL,
    PRIMARY KEY (record),
    FOREIGN KEY(record) REFERENCES decisions (record) ON DELETE CASCADE
);
INSERT INTO lensgate_schema (version) VALUES (1);
