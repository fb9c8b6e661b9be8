-- Each statement ends with a semicolon and an empty line, and holds no empty line inside: they are sent one by one.
-- {dimensions} is those of the vectors, {settings} what this pgvector can be told.

CREATE TABLE pai.library (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    model text NOT NULL,
    dimensions int NOT NULL
);

-- What an owner has in one language: BM25 is computed within it, so that no owner's words weigh in another's ranking,
-- and words that one language leaves out do not look rare in it because another counts them.
CREATE TABLE pai.shelves (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL,
    configuration text NOT NULL,
    chunks bigint NOT NULL DEFAULT 0,
    words bigint NOT NULL DEFAULT 0,
    UNIQUE (owner, configuration)
);

-- A generation of a document. Only `live` decides what readers see, so going live rewrites no chunk.
CREATE TABLE pai.editions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL,
    document_id text NOT NULL,
    generation text NOT NULL,
    shelf int NOT NULL REFERENCES pai.shelves,
    live boolean NOT NULL DEFAULT false,
    UNIQUE (owner, document_id, generation)
);

CREATE TABLE pai.chunks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL,
    edition bigint NOT NULL,
    ordinal int NOT NULL,
    part int NOT NULL,
    page int,
    context text NOT NULL,
    text text NOT NULL,
    start int NOT NULL,
    embedding halfvec({dimensions}) NOT NULL,
    UNIQUE (edition, ordinal)
) WITH (toast_tuple_target = 8160);

-- Kept in its row: a vector stored apart costs a second look-up for each distance, and the planner shuns the index for it.
ALTER TABLE pai.chunks ALTER COLUMN embedding SET STORAGE PLAIN;

CREATE INDEX chunks_embedding ON pai.chunks USING hnsw (embedding halfvec_ip_ops);

-- The words of chunks on their way to postings; empty between transactions.
CREATE UNLOGGED TABLE pai.arrivals (
    edition bigint NOT NULL,
    ordinal int NOT NULL,
    words text NOT NULL
);

CREATE INDEX arrivals_edition ON pai.arrivals (edition);

CREATE TABLE pai.terms (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shelf int NOT NULL,
    lexeme text NOT NULL,
    chunks int NOT NULL,
    UNIQUE (shelf, lexeme)
) WITH (fillfactor = 70);

-- `impact` is what the term gave the chunk as lengths were when it came; it only orders. Scores come from the other two.
CREATE TABLE pai.postings (
    term int NOT NULL,
    chunk bigint NOT NULL,
    impact real NOT NULL,
    occurrences real NOT NULL,
    length real NOT NULL
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);

CREATE INDEX postings_term ON pai.postings (term, impact DESC) INCLUDE (chunk, occurrences, length);

CREATE INDEX postings_chunk ON pai.postings (chunk);

-- The edition of a document's generation, made if it is not there. Writers of one owner wait for each other here until
-- the end of their transactions: they count up the same terms.
CREATE FUNCTION pai.open_edition(its_owner text, its_document text, its_generation text, its_configuration text)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    its_shelf int;
    edition bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(its_owner, 3));
    SELECT e.id INTO edition FROM pai.editions e
        WHERE e.owner = its_owner AND e.document_id = its_document AND e.generation = its_generation;
    IF edition IS NOT NULL THEN
        RETURN edition;
    END IF;
    INSERT INTO pai.shelves (owner, configuration) VALUES (its_owner, its_configuration) ON CONFLICT DO NOTHING;
    SELECT s.id INTO its_shelf FROM pai.shelves s WHERE s.owner = its_owner AND s.configuration = its_configuration;
    INSERT INTO pai.editions (owner, document_id, generation, shelf)
        VALUES (its_owner, its_document, its_generation, its_shelf) RETURNING id INTO edition;
    RETURN edition;
END $$;

-- Turn an edition's arrived words into postings, and count them on its shelf. How many come out of a text the planner
-- can't know, and with too few in mind it would compare each with each: so no nested loops.
CREATE FUNCTION pai.post(its_edition bigint, first int, final int) RETURNS bigint
LANGUAGE plpgsql SET enable_nestloop = off SET jit = off AS $$
DECLARE
    its_shelf int;
    its_configuration regconfig;
    posted bigint;
BEGIN
    SELECT s.id, s.configuration::regconfig INTO its_shelf, its_configuration
        FROM pai.editions e JOIN pai.shelves s ON s.id = e.shelf WHERE e.id = its_edition;
    WITH arrived AS (
        DELETE FROM pai.arrivals WHERE edition = its_edition RETURNING ordinal, words
    ), found AS MATERIALIZED (
        SELECT c.id AS chunk, w.lexeme, cardinality(w.positions)::real AS occurrences
        FROM arrived a
            JOIN pai.chunks c ON c.edition = its_edition AND c.ordinal BETWEEN first AND final AND c.ordinal = a.ordinal,
            unnest(to_tsvector(its_configuration, a.words)) w
    ), lengths AS MATERIALIZED (
        SELECT chunk, sum(occurrences)::real AS length FROM found GROUP BY chunk
    ), usual AS (
        SELECT (s.words + sum(l.length)) / (s.chunks + count(*)) AS length
        FROM pai.shelves s, lengths l WHERE s.id = its_shelf GROUP BY s.words, s.chunks
    ), counted AS (
        INSERT INTO pai.terms (shelf, lexeme, chunks)
        SELECT its_shelf, lexeme, count(*) FROM found GROUP BY lexeme ORDER BY lexeme
        ON CONFLICT (shelf, lexeme) DO UPDATE SET chunks = terms.chunks + excluded.chunks
        RETURNING id, lexeme
    ), added AS (
        UPDATE pai.shelves SET chunks = chunks + (SELECT count(*) FROM lengths),
            words = words + coalesce((SELECT sum(length) FROM lengths), 0)
        WHERE id = its_shelf
    )
    INSERT INTO pai.postings (term, chunk, impact, occurrences, length)
    SELECT t.id, f.chunk, f.occurrences / (f.occurrences + 0.3 + 0.9 * l.length / u.length), f.occurrences, l.length
    FROM found f JOIN lengths l USING (chunk) JOIN counted t USING (lexeme), usual u
    ORDER BY 1, 3 DESC;
    GET DIAGNOSTICS posted = ROW_COUNT;
    RETURN posted;
END $$;

-- Remove an edition's chunks from one ordinal to another, their postings, and what these counted.
CREATE FUNCTION pai.unload(its_edition bigint, first int, final int, OUT chunks bigint, OUT postings bigint)
LANGUAGE plpgsql AS $$
BEGIN
    WITH gone AS MATERIALIZED (
        DELETE FROM pai.chunks c WHERE c.edition = its_edition AND c.ordinal BETWEEN first AND final RETURNING c.id
    ), unposted AS MATERIALIZED (
        DELETE FROM pai.postings p WHERE p.chunk IN (SELECT id FROM gone) RETURNING p.term, p.chunk, p.length
    ), uncounted AS (
        UPDATE pai.terms t SET chunks = t.chunks - less.chunks
        FROM (SELECT term, count(*) AS chunks FROM unposted GROUP BY term) less WHERE t.id = less.term
    ), lengths AS (
        SELECT chunk, min(length) AS length FROM unposted GROUP BY chunk
    ), lessened AS (
        UPDATE pai.shelves s SET chunks = s.chunks - (SELECT count(*) FROM lengths),
            words = s.words - coalesce((SELECT sum(length) FROM lengths), 0)
        FROM pai.editions e WHERE e.id = its_edition AND s.id = e.shelf
    )
    SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM unposted) INTO chunks, postings;
END $$;

-- Make an edition what readers see, and remove every other one of its document.
CREATE FUNCTION pai.publish(its_edition bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    its pai.editions;
BEGIN
    SELECT * INTO its FROM pai.editions WHERE id = its_edition;
    PERFORM pai.unload(e.id, 0, 2147483647) FROM pai.editions e
        WHERE e.owner = its.owner AND e.document_id = its.document_id AND e.id <> its_edition;
    DELETE FROM pai.editions e WHERE e.owner = its.owner AND e.document_id = its.document_id AND e.id <> its_edition;
    UPDATE pai.editions SET live = true WHERE id = its_edition AND NOT live;
END $$;

-- Remove a document, all generations, and terms and shelves that nothing is left of.
CREATE FUNCTION pai.remove(its_owner text, its_document text, OUT chunks bigint, OUT postings bigint)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(its_owner, 3));
    SELECT coalesce(sum(u.chunks), 0), coalesce(sum(u.postings), 0) INTO chunks, postings
        FROM pai.editions e, pai.unload(e.id, 0, 2147483647) u
        WHERE e.owner = its_owner AND e.document_id = its_document;
    DELETE FROM pai.terms t USING pai.editions e
        WHERE e.owner = its_owner AND e.document_id = its_document AND t.shelf = e.shelf AND t.chunks <= 0;
    DELETE FROM pai.editions e WHERE e.owner = its_owner AND e.document_id = its_document;
    DELETE FROM pai.shelves s WHERE s.owner = its_owner
        AND NOT EXISTS (SELECT FROM pai.editions e WHERE e.shelf = s.id);
END $$;

-- The chunks nearest to a vector, in an owner's live editions, or those of some documents: ids, in no order.
-- The index is asked where it finds enough of this owner's sooner than a look at all they have; by then, and whenever it
-- found too few among the nearer ones of others, every one is looked at, which is exact. An expression around a column, or
-- around the distance, is what keeps the planner from another way than the one meant.
CREATE FUNCTION pai.nearest(asked_owner text, asked_vector halfvec, documents text[], depth int)
RETURNS bigint[] LANGUAGE plpgsql STABLE PARALLEL UNSAFE AS $$
DECLARE
    own bigint;
    everything bigint;
    found bigint[] DEFAULT '{{}}';
BEGIN
    SELECT coalesce(sum(chunks) FILTER (WHERE owner = asked_owner), 0), coalesce(sum(chunks), 0) INTO own, everything
        FROM pai.shelves;
    IF documents IS NULL AND own > 1000 AND own::float8 * own > depth::float8 * everything THEN
        found = ARRAY(SELECT c.id FROM pai.chunks c
            WHERE c.owner || '' = asked_owner AND (SELECT e.live FROM pai.editions e WHERE e.id = c.edition)
            ORDER BY c.embedding <#> asked_vector LIMIT depth);
        IF cardinality(found) >= depth THEN
            RETURN found;
        END IF;
    END IF;
    RETURN ARRAY(SELECT c.id FROM pai.editions e JOIN pai.chunks c ON c.edition = e.id
        WHERE e.owner = asked_owner AND e.live AND (documents IS NULL OR e.document_id = ANY (documents))
        ORDER BY (c.embedding <#> asked_vector) + 0 LIMIT depth);
END $$;

-- BM25 (k1 1.2, b 0.75, as Lucene counts it) of the chunks that hold any of the words: the best `most`. So many `postings`
-- are read at most, shared out so that rare terms give all of theirs and frequent ones, as many each, those with the
-- highest impact, which decide what comes first. Within some documents all are read.
CREATE FUNCTION pai.worded(asked_owner text, asked_words text, documents text[], most int, postings int)
RETURNS TABLE (id bigint, bm25 float8) LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 300 AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY WITH asked AS MATERIALIZED (
        SELECT s.id AS shelf, s.chunks::real AS chunks, 0.9::real * s.chunks / greatest(s.words, 1) AS slope,
            w.lexeme, cardinality(w.positions) AS times
        FROM pai.shelves s, unnest(to_tsvector(s.configuration::regconfig, asked_words)) w
        WHERE s.owner = asked_owner AND s.chunks > 0
    ), weighed AS MATERIALIZED (
        SELECT t.id, t.chunks, a.slope, (a.times * ln(1 + greatest(a.chunks - t.chunks, 0) / (t.chunks + 0.5::real)
            + 0.5::real / (t.chunks + 0.5::real)))::real AS weight
        FROM asked a JOIN pai.terms t ON t.shelf = a.shelf AND t.lexeme = a.lexeme
        WHERE t.chunks > 0 ORDER BY weight DESC LIMIT 64
    ), shared AS (
        SELECT w.*, (postings - coalesce(sum(w.chunks) OVER rarer, 0)) / (count(*) OVER () - count(*) OVER rarer) AS share
        FROM weighed w WINDOW rarer AS (ORDER BY w.chunks, w.id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    ), limited AS MATERIALIZED (
        SELECT s.*, CASE WHEN documents IS NULL THEN max(s.share) OVER () END AS most_postings FROM shared s
    ), matched AS MATERIALIZED (
        SELECT p.chunk, sum(w.weight * (p.occurrences / (p.occurrences + (0.3::real + w.slope * p.length)))) AS score
        FROM limited w CROSS JOIN LATERAL (
            SELECT * FROM pai.postings p WHERE p.term = w.id
            ORDER BY p.impact DESC LIMIT w.most_postings
        ) p
        GROUP BY p.chunk
    )
    SELECT m.chunk, m.score::float8 FROM matched m
        WHERE documents IS NULL OR EXISTS (
            SELECT FROM pai.chunks c JOIN pai.editions e ON e.id = c.edition
            WHERE c.id = m.chunk AND e.document_id = ANY (documents))
        ORDER BY m.score DESC, m.chunk LIMIT most;
END $$;

-- The best chunks for a question, best first. `documents` is a JSON array of ids, or empty for all. `share` is what the
-- vector counts: 1 asks the vectors alone, 0 the words alone. BM25 is divided by its best, for it has no upper end.
-- Between the two the vector is moved towards the best two of a first ranking (Rocchio's feedback), which are nearer to
-- what answers the question than the question is.
CREATE FUNCTION pai.search(
    asked_owner text, asked_words text, asked_vector halfvec, documents text, share float8, depth int, results int
) RETURNS TABLE (
    document_id text, ordinal int, part int, page int, context text, "text" text, start int,
    similarity float8, bm25 float8, score float8
) LANGUAGE plpgsql STABLE PARALLEL UNSAFE {settings} AS $$
#variable_conflict use_column
DECLARE
    wanted text[] DEFAULT CASE WHEN documents <> '' THEN ARRAY(SELECT json_array_elements_text(documents::json)) END;
    near bigint[] DEFAULT '{{}}';
BEGIN
    IF share > 0 THEN
        near = pai.nearest(asked_owner, asked_vector, wanted, depth);
    END IF;
    RETURN QUERY
    WITH found AS (
        SELECT n.id, NULL::float8 AS bm25, true AS kept FROM unnest(near) AS n (id)
        UNION ALL SELECT w.id, w.bm25, row_number() OVER (ORDER BY w.bm25 DESC, w.id) <= depth
        FROM pai.worded(asked_owner, CASE WHEN share < 1 THEN asked_words ELSE '' END, wanted, 3 * depth, 6000) w
    ), candidates AS MATERIALIZED (
        SELECT f.id, max(f.bm25) AS bm25 FROM found f GROUP BY f.id HAVING bool_or(f.kept)
    ), weighed AS MATERIALIZED (
        SELECT c.id, -(c.embedding <#> asked_vector) AS similarity, m.bm25,
            coalesce((1 - share) * m.bm25 / max(m.bm25) OVER (), 0) AS words_score
        FROM candidates m
            JOIN pai.chunks c ON c.id = m.id
            JOIN pai.editions e ON e.id = c.edition
        WHERE c.owner = asked_owner AND e.owner = asked_owner AND e.live
    ), best AS (
        SELECT avg(c.embedding) AS middle FROM (
            SELECT w.id FROM weighed w ORDER BY share * w.similarity + w.words_score DESC, w.id LIMIT 2
        ) t JOIN pai.chunks c ON c.id = t.id
        WHERE share > 0 AND share < 1 GROUP BY share > 0
    ), feedback AS MATERIALIZED (
        SELECT b.middle, sqrt(0.4225 - 0.455 * (b.middle <#> asked_vector) - 0.1225 * (b.middle <#> b.middle)) AS length
        FROM best b
    ), fused AS (
        SELECT w.id, w.similarity, w.bm25, w.words_score + share * greatest(
            coalesce((0.65 * w.similarity - 0.35 * (c.embedding <#> f.middle)) / nullif(f.length, 0), w.similarity), 0) AS score
        FROM (
            SELECT * FROM weighed ORDER BY share * similarity + words_score DESC, id LIMIT results + 30
        ) w JOIN pai.chunks c ON c.id = w.id LEFT JOIN feedback f ON true
        ORDER BY score DESC, w.id LIMIT results
    )
    SELECT e.document_id, c.ordinal, c.part, c.page, c.context, c.text, c.start, f.similarity, f.bm25, f.score
    FROM fused f JOIN pai.chunks c ON c.id = f.id JOIN pai.editions e ON e.id = c.edition
    ORDER BY f.score DESC, f.id;
END $$;

