-- The schema of version 1, frozen: what the first release wrote. Never edit.
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
    build INTEGER);
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
CREATE TABLE store.px_scales (key VARCHAR, sx DOUBLE, sy DOUBLE, source VARCHAR);
CREATE VIEW pictures AS
        SELECT key, uri, sha256, width_px, height_px, size_bytes, mtime_ns, status, cause, phash, build
        FROM store.pictures;
CREATE VIEW lines AS
        SELECT key, engine, line, l.text AS text, l.confidence AS confidence, l.polygon AS polygon,
            (sqrt((l.polygon[7] - l.polygon[1]) ** 2 + (l.polygon[8] - l.polygon[2]) ** 2)
             + sqrt((l.polygon[5] - l.polygon[3]) ** 2 + (l.polygon[6] - l.polygon[4]) ** 2)) / 2
                AS height_px, version, weights_digest, settings
        FROM (SELECT key, reader, unnest(lines) AS l, unnest(range(len(lines))) AS line FROM store.readings)
        JOIN store.readers USING (reader);
CREATE VIEW transcriptions AS
        SELECT key, text, source, n_lines, n_chars, confidence, agreement FROM store.spoken;
CREATE VIEW safeboxes AS
        SELECT key, "left", top, "right", bottom, source FROM store.boxes
        UNION ALL
        SELECT key, "left", top, "right", bottom, source FROM store.spoken
        WHERE "left" IS NOT NULL AND key NOT IN (SELECT key FROM store.boxes);
CREATE VIEW px_scales AS SELECT key, sx, sy, source FROM store.px_scales;
CREATE VIEW captions AS SELECT key, caption, position, source FROM store.captions;
CREATE VIEW failures AS
        SELECT key, cause, detail, n_attempts, uri FROM store.pictures WHERE status = 'failed'
        UNION ALL
        SELECT key, 'bad_txt', detail, 1, uri FROM store.texts WHERE origin = 'refused';
CREATE VIEW builds AS SELECT * FROM store.builds;
INSERT INTO store.info VALUES ('schema_version', '1');
