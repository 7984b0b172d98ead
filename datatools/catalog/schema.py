"""Tables and views of a catalog, and the version of both.

Tables stand in the schema `store` and are nobody's business; views stand in `main` and are the interface
that docs/data-formats.md describes. A change here is a new version: `upgrade.py` beside needs a step to it.

Of a picture that was shrunk (`--max-edge`), `uri, size_bytes, mtime_ns, sha256` and the source's edges tell
of the file it was made from; `stored_*` and `width_px, height_px` of the copy, in whose pixels readings are.
Boxes and px scales are kept in pixels of the source, so that shrinking otherwise changes no row of them.

No table has a primary key: uniqueness is kept by the single writer and
verified by `datatools check`; an index would slow a bulk load by a third and is what DuckDB's log replay
fails on after a kill (its issues 19712 and 22044).
"""

from __future__ import annotations

__all__ = ["SCHEMA_VERSION", "TABLES", "VIEWS", "VIEW_NAMES"]

SCHEMA_VERSION = 2

TABLES = """
CREATE SCHEMA store;
CREATE TABLE store.info (name VARCHAR, value VARCHAR);
CREATE TABLE store.builds (
    build INTEGER, started_at TIMESTAMP, finished_at TIMESTAMP, outcome VARCHAR, source VARCHAR,
    settings VARCHAR, program VARCHAR, n_found BIGINT, n_unchanged BIGINT, n_read BIGINT, n_reused BIGINT,
    n_failed BIGINT, n_removed BIGINT);
CREATE TABLE store.readers (
    reader INTEGER, engine VARCHAR, version VARCHAR, weights_digest VARCHAR, settings VARCHAR);
CREATE TABLE store.pictures (
    key VARCHAR, uri VARCHAR, size_bytes BIGINT, mtime_ns BIGINT, sha256 VARCHAR, phash UBIGINT,
    width_px INTEGER, height_px INTEGER, status VARCHAR, cause VARCHAR, detail VARCHAR, n_attempts INTEGER,
    build INTEGER, source_width_px INTEGER, source_height_px INTEGER,
    stored_uri VARCHAR, stored_bytes BIGINT, stored_sha256 VARCHAR, px_estimator VARCHAR);
CREATE TABLE store.readings (
    key VARCHAR, reader INTEGER, build INTEGER,
    lines STRUCT(polygon FLOAT[8], text VARCHAR, confidence FLOAT)[]);
CREATE TABLE store.texts (
    key VARCHAR, uri VARCHAR, size_bytes BIGINT, mtime_ns BIGINT, origin VARCHAR, sha256 VARCHAR,
    text VARCHAR, detail VARCHAR);
CREATE TABLE store.spoken (
    key VARCHAR, text VARCHAR, source VARCHAR, n_lines INTEGER, n_chars INTEGER, confidence FLOAT,
    agreement FLOAT, "left" DOUBLE, top DOUBLE, "right" DOUBLE, bottom DOUBLE);
CREATE TABLE store.boxes (
    key VARCHAR, "left" DOUBLE, top DOUBLE, "right" DOUBLE, bottom DOUBLE, source VARCHAR);
CREATE TABLE store.captions (key VARCHAR, caption VARCHAR, position INTEGER, source VARCHAR);
CREATE TABLE store.caption_files (
    key VARCHAR, uri VARCHAR, size_bytes BIGINT, mtime_ns BIGINT, detail VARCHAR);
CREATE TABLE store.px_scales (key VARCHAR, sx DOUBLE, sy DOUBLE, source VARCHAR);
"""

VIEWS = {
    "pictures": """
        SELECT key, COALESCE(stored_uri, uri) AS uri, COALESCE(stored_sha256, sha256) AS sha256, width_px,
            height_px, COALESCE(stored_bytes, size_bytes) AS size_bytes, mtime_ns, status, cause, phash,
            build, uri AS source_uri, source_width_px, source_height_px
        FROM store.pictures""",
    "lines": """
        SELECT key, engine, line, l.text AS text, l.confidence AS confidence, l.polygon AS polygon,
            (sqrt((l.polygon[7] - l.polygon[1]) ** 2 + (l.polygon[8] - l.polygon[2]) ** 2)
             + sqrt((l.polygon[5] - l.polygon[3]) ** 2 + (l.polygon[6] - l.polygon[4]) ** 2)) / 2
                AS height_px, version, weights_digest, settings
        FROM (SELECT key, reader, unnest(lines) AS l, unnest(range(len(lines))) AS line FROM store.readings)
        JOIN store.readers USING (reader)""",
    "transcriptions": """
        SELECT key, text, source, n_lines, n_chars, confidence, agreement FROM store.spoken""",
    "safeboxes": """
        SELECT key, "left" * width_px / source_width_px AS "left", top * height_px / source_height_px AS top,
            "right" * width_px / source_width_px AS "right", bottom * height_px / source_height_px AS bottom,
            source
        FROM store.boxes JOIN store.pictures USING (key) WHERE width_px IS NOT NULL
        UNION ALL
        SELECT key, "left", top, "right", bottom, source FROM store.spoken
        WHERE "left" IS NOT NULL AND key NOT IN (SELECT key FROM store.boxes)""",
    # What is known of the source times our own shrinking; an estimate is worth less than what was recorded.
    "px_scales": """
        SELECT key, COALESCE(sx, 1) * width_px / source_width_px AS sx,
            COALESCE(sy, 1) * height_px / source_height_px AS sy, COALESCE(k.source, 'shrunk') AS source
        FROM store.pictures LEFT JOIN (
            FROM store.px_scales WHERE source != 'estimated' OR key NOT IN (
                SELECT key FROM store.pictures WHERE stored_uri IS NOT NULL)) AS k USING (key)
        WHERE width_px IS NOT NULL AND (k.key IS NOT NULL OR stored_uri IS NOT NULL)""",
    "captions": "SELECT key, caption, position, source FROM store.captions",
    "failures": """
        SELECT key, cause, detail, n_attempts, uri FROM store.pictures WHERE status = 'failed'
        UNION ALL
        SELECT key, 'bad_txt', detail, 1, uri FROM store.texts WHERE origin = 'refused'""",
    "builds": "SELECT * FROM store.builds",
}
"""The documented face of a catalog."""

VIEW_NAMES = tuple(VIEWS)
