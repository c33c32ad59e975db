-- A bookshop of any size. Hashes take the place of chance, so it is the same every time. :names are put in by
-- benchmarks/generation.py; foreign keys are not watched meanwhile, and indexes are made afterwards.

-- ── functions
CREATE FUNCTION pg_temp.chance(n bigint, salt int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((hashint8extended(n, salt) >> 20) & 1073741823) / 1073741824.0::float8;

CREATE FUNCTION pg_temp.key(kind text, n bigint, at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
    || '7' || substr(md5(kind || n), 1, 3) || '8' || substr(md5(kind || n), 4, 15))::uuid;

CREATE FUNCTION pg_temp.spelt(n bigint, syllables int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT string_agg((:syllables)[1 + n / (20 ^ i)::bigint % 20], '') FROM generate_series(0, syllables - 1) AS i);

CREATE FUNCTION pg_temp.isbn(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT digits || (10 - sum(substr(digits, i, 1)::int * CASE i % 2 WHEN 0 THEN 3 ELSE 1 END) % 10) % 10
    FROM (SELECT '979' || lpad(n::text, 9, '0') AS digits) AS isbn, generate_series(1, 12) AS i GROUP BY digits);

-- ── words: ordinary ones, and made ones that are rarer the further down they stand
CREATE TEMP TABLE words AS
SELECT rank, coalesce((:words)[rank], pg_temp.spelt(rank * 7, 4)) AS word FROM generate_series(1, :vocabulary) AS rank;

-- ── genres
INSERT INTO genres (id, slug, name)
SELECT pg_temp.key('genre', n, :anchor - interval '3 years'),
    'genre-' || lpad(n::text, 2, '0'), 'Genre ' || lpad(n::text, 2, '0')
FROM generate_series(1, :genres) AS n;

-- ── authors
CREATE TEMP TABLE writers AS
SELECT n, pg_temp.key('author', n, :anchor - interval '3 years') AS id,
    (:first)[1 + n % :firsts] || ' ' || initcap(pg_temp.spelt(n::bigint * 8009, 6)) AS name
FROM generate_series(1, :authors) AS n;
ALTER TABLE writers ADD PRIMARY KEY (n);
INSERT INTO authors (id, slug, name) SELECT id, 'author-' || n, name FROM writers;

-- ── readers
CREATE TEMP TABLE readers AS
SELECT n, pg_temp.key('user', n, at) AS id, pg_temp.key('session', n, at) AS session_id, at
FROM generate_series(1, :users) AS n, LATERAL (SELECT :anchor - interval '3 years' + n * interval '1 minute' AS at) AS times;
ALTER TABLE readers ADD PRIMARY KEY (n);
INSERT INTO users (id, email, display_name, created_at, email_verified_at)
SELECT id, 'reader' || n || '@example.com', (:first)[1 + n % :firsts] || ' ' || n, at, at FROM readers;
INSERT INTO carts (user_id) SELECT id FROM readers;
INSERT INTO sessions (id, user_id, user_agent, created_at, last_used_at, expires_at)
SELECT session_id, id, 'benchmark', at, at, timestamptz '2099-01-01 00:00:00+00' FROM readers;

-- ── titles: three to seven words, common ones more often, as in any language
CREATE TEMP TABLE titles AS
SELECT book.n, string_agg(word, ' ' ORDER BY place) AS title
FROM generate_series(1, :books) AS book (n)
CROSS JOIN generate_series(1, 7) AS place
JOIN words ON rank = floor(exp(pg_temp.chance(book.n, place) * ln(:vocabulary)))::int
WHERE place <= 3 + floor(pg_temp.chance(book.n, 8) * 5)
GROUP BY book.n;

-- ── title pages: seven books in ten have one author, two have two, one has three
CREATE TEMP TABLE written AS
SELECT book.n, place, writers.id AS author_id, name
FROM generate_series(1, :books) AS book (n)
CROSS JOIN generate_series(0, 2) AS place
JOIN writers ON writers.n = 1 + (floor(pg_temp.chance(book.n, 9) * :authors)::bigint + place * 17) % :authors
WHERE place <= (ARRAY[0, 0, 0, 0, 0, 0, 0, 1, 1, 2])[1 + floor(pg_temp.chance(book.n, 10) * 10)::int];

-- ── books: the higher its number, the newer; one in ten is sold out
CREATE TEMP TABLE shelf AS
SELECT n, pg_temp.key('book', n, at) AS id, at, upper(left(title, 1)) || substr(title, 2) AS title,
    (390 + floor(pg_temp.chance(n, 11) * 8600)) / 100::numeric AS price,
    CASE WHEN pg_temp.chance(n, 12) < 0.1 THEN 0 ELSE 1 + floor(pg_temp.chance(n, 13) * 60)::int END AS stock
FROM titles, LATERAL (SELECT :anchor - (:books - n) * (interval '3 years' / :books) AS at) AS times;
ALTER TABLE shelf ADD PRIMARY KEY (n);
INSERT INTO books (id, slug, title, isbn, description, genre_id, format, publisher, published_on, page_count, language,
    price, stock_quantity, added_at, updated_at, author_names)
SELECT shelf.id, 'book-' || shelf.n, title, pg_temp.isbn(shelf.n),
    (SELECT string_agg((:sentences)[1 + floor(pg_temp.chance(shelf.n, 20 + i) * :sentence_count)::int], ' ') FROM generate_series(1, 4) AS i),
    pg_temp.key('genre', 1 + floor(pg_temp.chance(shelf.n, 14) * :genres)::int, :anchor - interval '3 years'),
    (ARRAY['HARDCOVER', 'PAPERBACK', 'PAPERBACK', 'AUDIOBOOK'])[1 + floor(pg_temp.chance(shelf.n, 15) * 4)::int],
    'House ' || 1 + floor(pg_temp.chance(shelf.n, 16) * 200)::int,
    date '1990-01-01' + floor(pg_temp.chance(shelf.n, 17) * 13000)::int,
    80 + floor(pg_temp.chance(shelf.n, 18) * 800)::int, 'en', price, stock, at, at, names
FROM shelf
JOIN (SELECT n, string_agg(name, E'\n' ORDER BY place) AS names FROM written GROUP BY n) AS authors USING (n);
INSERT INTO book_authors (book_id, position, author_id) SELECT id, place, author_id FROM written JOIN shelf USING (n);

-- ── reviews: how many a book has falls with the square root of its rank; the first has :hot more
INSERT INTO reviews (id, book_id, user_id, rating, text, created_at, updated_at)
SELECT pg_temp.key('review', number, times.at), shelf.id, readers.id,
    (ARRAY[1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5])[1 + floor(pg_temp.chance(number, 2) * 11)::int],
    CASE WHEN pg_temp.chance(number, 3) < 0.7 THEN (:sentences)[1 + floor(pg_temp.chance(number, 4) * :sentence_count)::int]
        || ' ' || (:sentences)[1 + floor(pg_temp.chance(number, 5) * :sentence_count)::int] END,
    times.at, times.at
FROM generate_series(1, :books) AS rank
CROSS JOIN LATERAL (SELECT floor(:reviews * sqrt(rank / :books::float8))::int - floor(:reviews * sqrt((rank - 1) / :books::float8))::int
    + CASE rank WHEN 1 THEN :hot ELSE 0 END AS count) AS counted
CROSS JOIN LATERAL generate_series(1, count) AS place
CROSS JOIN LATERAL (SELECT rank::bigint * :users + place AS number) AS numbered
CROSS JOIN LATERAL (SELECT :anchor - pg_temp.chance(number, 1) * interval '700 days' AS at) AS times
JOIN shelf ON shelf.n = 1 + rank::bigint * :stride % :books
JOIN readers ON readers.n = 1 + (rank::bigint * 104729 + place::bigint * 7919) % :users;

-- ── ratings
INSERT INTO book_ratings (book_id, one, two, three, four, five)
SELECT shelf.id, count(*) FILTER (WHERE rating = 1), count(*) FILTER (WHERE rating = 2), count(*) FILTER (WHERE rating = 3),
    count(*) FILTER (WHERE rating = 4), count(*) FILTER (WHERE rating = 5)
FROM shelf LEFT JOIN reviews ON book_id = shelf.id GROUP BY shelf.id;

-- ── orders: most are sent, some are not yet, one in twenty was cancelled
CREATE TEMP TABLE purchases AS
SELECT purchase.n, pg_temp.key('order', purchase.n, times.at) AS id, readers.id AS user_id, times.at,
    CASE WHEN fate < 0.05 THEN 'CANCELLED' WHEN fate < 0.2 THEN 'CONFIRMED' ELSE 'SHIPPED' END AS status
FROM generate_series(1, :orders) AS purchase (n)
CROSS JOIN LATERAL (SELECT :anchor - pg_temp.chance(purchase.n, 1) * interval '365 days' AS at) AS times
CROSS JOIN LATERAL (SELECT pg_temp.chance(purchase.n, 3) AS fate) AS fates
JOIN readers ON readers.n = 1 + floor(pg_temp.chance(purchase.n, 2) * :users)::int;

CREATE TEMP TABLE lines AS
SELECT purchases.id AS order_id, purchases.at, status, place, shelf.id AS book_id, title, price,
    1 + floor(pg_temp.chance(purchases.n, 30 + place) * 3)::int AS quantity
FROM purchases
CROSS JOIN generate_series(0, 2) AS place
JOIN shelf ON shelf.n = 1 + (floor(pg_temp.chance(purchases.n, 4) * pg_temp.chance(purchases.n, 5) * :books)::bigint
    + place * :stride::bigint) % :books
WHERE place <= floor(pg_temp.chance(purchases.n, 6) * 3);

INSERT INTO orders (id, number, user_id, status, total, total_quantity, currency, idempotency_key, input_digest,
    payment_token, placed_at, shipped_at, cancelled_at, refunded_at)
SELECT id, substr(digits, 1, 4) || '-' || substr(digits, 5, 4) || '-' || substr(digits, 9, 4), user_id, status,
    total, copies, 'EUR', 'benchmark-' || n, sha256(n::text::bytea), 'mock-approve', at,
    CASE status WHEN 'SHIPPED' THEN at + interval '1 day' END, called_off, called_off
FROM purchases
JOIN (SELECT order_id, sum(price * quantity) AS total, sum(quantity) AS copies FROM lines GROUP BY order_id) AS sums
    ON order_id = id
CROSS JOIN LATERAL (SELECT upper(lpad(to_hex(n), 12, '0')) AS digits) AS told
CROSS JOIN LATERAL (SELECT CASE status WHEN 'CANCELLED' THEN at + interval '1 hour' END AS called_off) AS ends;

-- ── order lines
INSERT INTO order_items (order_id, id, book_id, title, quantity, unit_price)
SELECT order_id, pg_temp.key('line' || order_id, place, at), book_id, title, quantity, price FROM lines;

-- ── payments and letters
INSERT INTO mock_payments (key, status, amount, currency, created_at, refunded_at)
SELECT id::text, 'APPROVED', total, currency, placed_at, refunded_at FROM orders;
INSERT INTO letters (id, kind, subject_id, user_id, status, created_at, settled_at)
SELECT pg_temp.key('letter', n, at), 'ORDER_CONFIRMED', id, user_id, 'SENT', at, at FROM purchases;

-- ── the stock's ledger: what came, what was sold, what came back
INSERT INTO stock_movements (id, book_id, title, change, reason, created_at)
SELECT pg_temp.key('delivery', n, at), id, title, stock + coalesce(sold, 0), 'NEW_BOOK', at
FROM shelf
LEFT JOIN (SELECT book_id, sum(quantity) AS sold FROM lines WHERE status <> 'CANCELLED' GROUP BY book_id) AS sales
    ON book_id = id
WHERE stock + coalesce(sold, 0) > 0;
INSERT INTO stock_movements (id, book_id, title, change, reason, order_id, created_at)
SELECT pg_temp.key(reason || order_id, place, at), book_id, title, direction * quantity, reason, order_id, at
FROM lines JOIN (VALUES ('SALE', -1), ('CANCELLATION', 1)) AS movements (reason, direction)
    ON reason = 'SALE' OR status = 'CANCELLED';

-- ── sales of the last 90 days
UPDATE sales_window SET since = :anchor - interval '90 days';
INSERT INTO book_sales (book_id, copies)
SELECT shelf.id, coalesce(sum(quantity) FILTER (WHERE lines.at >= :anchor - interval '90 days' AND status <> 'CANCELLED'), 0)
FROM shelf LEFT JOIN lines ON book_id = shelf.id GROUP BY shelf.id;
