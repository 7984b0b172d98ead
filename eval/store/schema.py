"""Tables of an evaluation store. Raw material first (samples, readings, features); scores follow from it."""

from __future__ import annotations

__all__ = ["ADDED_TABLES", "SCHEMA_VERSION", "TABLES", "UPGRADES"]

SCHEMA_VERSION = 3

_TABLES = """
CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL);

-- One row per command that changed the store: git state, versions, device, command line.
CREATE TABLE runs (run_id VARCHAR PRIMARY KEY, started_at TIMESTAMP NOT NULL, provenance JSON NOT NULL);

CREATE TABLE suites (
    suite_id VARCHAR PRIMARY KEY, name VARCHAR NOT NULL, version INTEGER NOT NULL, digest VARCHAR NOT NULL
);
CREATE TABLE prompts (
    suite_id VARCHAR, prompt_id VARCHAR, position INTEGER NOT NULL, stratum VARCHAR NOT NULL,
    txt VARCHAR NOT NULL, capt VARCHAR, prompt VARCHAR, PRIMARY KEY (suite_id, prompt_id)
);

-- One point of a sweep. `spec` says everything that shapes its pictures; `setting_id` is its hash.
CREATE TABLE settings (
    setting_id VARCHAR PRIMARY KEY, suite_id VARCHAR NOT NULL, label VARCHAR NOT NULL, spec JSON NOT NULL,
    position INTEGER NOT NULL, reference JSON
);

-- One picture that was asked for. `expected` until it is `done` or `failed` with a cause. `regions`: where
-- its text stands, one polygon a line, where that is known; `region_id` is their hash. `device`: what it was
-- made on, where that is known.
CREATE TABLE samples (
    setting_id VARCHAR, prompt_id VARCHAR, seed BIGINT, status VARCHAR NOT NULL, cause VARCHAR,
    sha256 VARCHAR, width_px INTEGER, height_px INTEGER, seconds DOUBLE, n_evaluations DOUBLE, run_id VARCHAR,
    regions JSON, region_id VARCHAR, device VARCHAR,
    PRIMARY KEY (setting_id, prompt_id, seed)
);

CREATE TABLE readers (
    reader_id VARCHAR PRIMARY KEY, name VARCHAR NOT NULL, version VARCHAR NOT NULL,
    weights_digest VARCHAR NOT NULL, settings JSON NOT NULL
);
-- Vectors as little-endian float32. `extractor_id` names network, weights and preparation.
CREATE TABLE features (
    sha256 VARCHAR, extractor_id VARCHAR, vector BLOB NOT NULL, PRIMARY KEY (sha256, extractor_id)
);

-- One row per picture and protocol: what text scores are quotients of sums of (eval.text_metrics.counts).
-- `reading` is NULL where there is no picture or it could not be read; that counts as worst.
CREATE TABLE text_scores (
    setting_id VARCHAR, prompt_id VARCHAR, seed BIGINT, protocol_id VARCHAR, reading VARCHAR,
    em_strict BOOLEAN, em_ci BOOLEAN, em_alnum BOOLEAN, em_nospace BOOLEAN, em_confusable BOOLEAN,
    n_target INTEGER, n_reading INTEGER, n_edits INTEGER, n_edits_free INTEGER,
    n_chars_target INTEGER, n_chars_reading INTEGER, n_chars_shared INTEGER,
    n_words_target INTEGER, n_words_reading INTEGER, n_words_shared INTEGER, n_word_edits INTEGER,
    n_lines_target INTEGER, n_lines_reading INTEGER, n_lines_shared INTEGER,
    n_cased INTEGER, n_case_same INTEGER, trigram_sim DOUBLE,
    PRIMARY KEY (setting_id, prompt_id, seed, protocol_id)
);
CREATE TABLE protocols (protocol_id VARCHAR PRIMARY KEY, reader_id VARCHAR NOT NULL, spec JSON NOT NULL);
CREATE TABLE scores (
    setting_id VARCHAR, metric VARCHAR, protocol_id VARCHAR, value DOUBLE, low DOUBLE, high DOUBLE,
    n INTEGER NOT NULL, n_expected INTEGER NOT NULL, reason VARCHAR, ranked BOOLEAN NOT NULL,
    PRIMARY KEY (setting_id, metric, protocol_id)
);
"""

# Tables that stores of this version may lack; they are made when such a store is next written to.
ADDED_TABLES = """
-- Scores of one set of pictures under one protocol (`spec`): distances are computed once per content.
CREATE TABLE IF NOT EXISTS measured (
    content_id VARCHAR, protocol_id VARCHAR, spec JSON NOT NULL, scores JSON NOT NULL,
    PRIMARY KEY (content_id, protocol_id)
);
-- How many words a prompt has, and how many of them stood in the texts that the setting's model was trained
-- on: those of a catalog, whose words `vocabulary_id` is the hash of.
CREATE TABLE IF NOT EXISTS seen_words (
    setting_id VARCHAR, prompt_id VARCHAR, n_words INTEGER NOT NULL, n_seen INTEGER NOT NULL,
    catalog VARCHAR NOT NULL, vocabulary_id VARCHAR NOT NULL, PRIMARY KEY (setting_id, prompt_id)
);
"""
_READINGS = """
-- What a reader saw in a picture, before any threshold. `lines`: [{polygon, text, confidence}, …].
-- `region_id` says in which regions (box mode); '' in the whole picture.
CREATE TABLE readings (
    sha256 VARCHAR, reader_id VARCHAR, region_id VARCHAR, lines JSON, cause VARCHAR, seconds DOUBLE,
    PRIMARY KEY (sha256, reader_id, region_id)
);
-- The lines of a reading joined in reading order. `assembly_id` names the threshold and the rules.
CREATE TABLE transcripts (
    sha256 VARCHAR, reader_id VARCHAR, region_id VARCHAR, assembly_id VARCHAR, text VARCHAR NOT NULL,
    PRIMARY KEY (sha256, reader_id, region_id, assembly_id)
);
"""

_SECOND_OPINIONS = """
-- How far two readers agree on the pictures of a setting, over pictures with text that both have read.
CREATE TABLE agreements (
    setting_id VARCHAR, protocol_a VARCHAR, protocol_b VARCHAR, n INTEGER NOT NULL,
    equal DOUBLE, equal_low DOUBLE, equal_high DOUBLE, similarity DOUBLE,
    kappa DOUBLE, kappa_low DOUBLE, kappa_high DOUBLE,
    PRIMARY KEY (setting_id, protocol_a, protocol_b)
);
-- What a person read in a picture, typed without seeing target or reading.
CREATE TABLE audits (sha256 VARCHAR, auditor VARCHAR, text VARCHAR NOT NULL, PRIMARY KEY (sha256, auditor));
"""

TABLES = _TABLES + _READINGS + _SECOND_OPINIONS

_UPGRADE_FROM_1 = f"""
ALTER TABLE prompts ADD COLUMN prompt VARCHAR;
ALTER TABLE samples ADD COLUMN regions JSON;
ALTER TABLE samples ADD COLUMN region_id VARCHAR;
CREATE TEMP TABLE old_readings AS SELECT *, '' AS region_id FROM readings;
CREATE TEMP TABLE old_transcripts AS SELECT *, '' AS region_id FROM transcripts;
DROP TABLE readings;
DROP TABLE transcripts;
{_READINGS}
INSERT INTO readings BY NAME SELECT * FROM old_readings;
INSERT INTO transcripts BY NAME SELECT * FROM old_transcripts;
DROP TABLE old_readings;
DROP TABLE old_transcripts;
{_SECOND_OPINIONS}
"""

UPGRADES = {"1": _UPGRADE_FROM_1, "2": "ALTER TABLE samples ADD COLUMN device VARCHAR;"}
"""What makes a store of each older version one of the next."""
