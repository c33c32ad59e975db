-- A shop of any size. Hashes replace random numbers, so it is the same every time. tools/bench/generation.py replaces
-- the :placeholders. Foreign keys are not checked, and indexes are created afterwards.

-- ── functions
CREATE FUNCTION pg_temp.hash_float(n bigint, salt int) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((hashint8extended(n, salt) >> 20) & 1073741823) / 1073741824.0::float8;

CREATE FUNCTION pg_temp.key(kind text, n bigint, at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
    || '7' || substr(md5(kind || n), 1, 3) || '8' || substr(md5(kind || n), 4, 15))::uuid;

CREATE FUNCTION pg_temp.make_word(n bigint, syllables int) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT string_agg((:syllables)[1 + n / (20 ^ i)::bigint % 20], '') FROM generate_series(0, syllables - 1) AS i);

CREATE FUNCTION pg_temp.isbn(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    SELECT digits || (10 - sum(substr(digits, i, 1)::int * CASE i % 2 WHEN 0 THEN 3 ELSE 1 END) % 10) % 10
    FROM (SELECT '979' || lpad(n::text, 9, '0') AS digits) AS isbn, generate_series(1, 12) AS i GROUP BY digits);

-- ── words: real ones, then invented ones; the higher the rank, the rarer
CREATE TEMP TABLE words AS
SELECT rank, coalesce((:words)[rank], pg_temp.make_word(rank * 7, 4)) AS word FROM generate_series(1, :vocabulary) AS rank;

-- ── genres
INSERT INTO genres (id, slug, name)
SELECT pg_temp.key('genre', n, :anchor - interval '3 years'),
    'genre-' || lpad(n::text, 2, '0'), 'Genre ' || lpad(n::text, 2, '0')
FROM generate_series(1, :genres) AS n;

-- ── authors
CREATE TEMP TABLE new_authors AS
SELECT n, pg_temp.key('author', n, :anchor - interval '3 years') AS id,
    (:first)[1 + n % :firsts] || ' ' || initcap(pg_temp.make_word(n::bigint * 8009, 6)) AS name
FROM generate_series(1, :authors) AS n;
ALTER TABLE new_authors ADD PRIMARY KEY (n);
INSERT INTO authors (id, slug, name) SELECT id, 'author-' || n, name FROM new_authors;

-- ── users
CREATE TEMP TABLE new_users AS
SELECT n, pg_temp.key('user', n, at) AS id, pg_temp.key('session', n, at) AS session_id, at
FROM generate_series(1, :users) AS n, LATERAL (SELECT :anchor - interval '3 years' + n * interval '1 minute' AS at) AS times;
ALTER TABLE new_users ADD PRIMARY KEY (n);
INSERT INTO users (id, email, display_name, created_at, email_verified_at)
SELECT id, 'reader' || n || '@example.com', (:first)[1 + n % :firsts] || ' ' || n, at, at FROM new_users;
INSERT INTO carts (user_id) SELECT id FROM new_users;
INSERT INTO sessions (id, user_id, user_agent, created_at, last_used_at, expires_at)
SELECT session_id, id, 'benchmark', at, at, timestamptz '2099-01-01 00:00:00+00' FROM new_users;

-- ── titles: three to seven words, common ones more often, as in natural language
CREATE TEMP TABLE titles AS
SELECT book.n, string_agg(word, ' ' ORDER BY place) AS title
FROM generate_series(1, :books) AS book (n)
CROSS JOIN generate_series(1, 7) AS place
JOIN words ON rank = floor(exp(pg_temp.hash_float(book.n, place) * ln(:vocabulary)))::int
WHERE place <= 3 + floor(pg_temp.hash_float(book.n, 8) * 5)
GROUP BY book.n;

-- ── book authors: seven books in ten have one author, two have two, one has three
CREATE TEMP TABLE new_book_authors AS
SELECT book.n, place, new_authors.id AS author_id, name
FROM generate_series(1, :books) AS book (n)
CROSS JOIN generate_series(0, 2) AS place
JOIN new_authors ON new_authors.n = 1 + (floor(pg_temp.hash_float(book.n, 9) * :authors)::bigint + place * 17) % :authors
WHERE place <= (ARRAY[0, 0, 0, 0, 0, 0, 0, 1, 1, 2])[1 + floor(pg_temp.hash_float(book.n, 10) * 10)::int];

-- ── books: a higher number is newer; one in ten is out of stock
CREATE TEMP TABLE new_books AS
SELECT n, pg_temp.key('book', n, at) AS id, at, upper(left(title, 1)) || substr(title, 2) AS title,
    (390 + floor(pg_temp.hash_float(n, 11) * 8600)) / 100::numeric AS price,
    CASE WHEN pg_temp.hash_float(n, 12) < 0.1 THEN 0 ELSE 1 + floor(pg_temp.hash_float(n, 13) * 60)::int END AS stock
FROM titles, LATERAL (SELECT :anchor - (:books - n) * (interval '3 years' / :books) AS at) AS times;
ALTER TABLE new_books ADD PRIMARY KEY (n);
INSERT INTO books (id, slug, title, isbn, description, genre_id, format, publisher, published_on, page_count, language,
    price, stock_quantity, added_at, updated_at, author_names)
SELECT new_books.id, 'book-' || new_books.n, title, pg_temp.isbn(new_books.n),
    (SELECT string_agg((:sentences)[1 + floor(pg_temp.hash_float(new_books.n, 20 + i) * :sentence_count)::int], ' ') FROM generate_series(1, 4) AS i),
    pg_temp.key('genre', 1 + floor(pg_temp.hash_float(new_books.n, 14) * :genres)::int, :anchor - interval '3 years'),
    (ARRAY['HARDCOVER', 'PAPERBACK', 'PAPERBACK', 'AUDIOBOOK'])[1 + floor(pg_temp.hash_float(new_books.n, 15) * 4)::int],
    'House ' || 1 + floor(pg_temp.hash_float(new_books.n, 16) * 200)::int,
    date '1990-01-01' + floor(pg_temp.hash_float(new_books.n, 17) * 13000)::int,
    80 + floor(pg_temp.hash_float(new_books.n, 18) * 800)::int, 'en', price, stock, at, at, names
FROM new_books
JOIN (SELECT n, string_agg(name, E'\n' ORDER BY place) AS names FROM new_book_authors GROUP BY n) AS authors USING (n);
INSERT INTO book_authors (book_id, position, author_id) SELECT id, place, author_id FROM new_book_authors JOIN new_books USING (n);

-- ── reviews: their number falls with the square root of the rank; the first book has :hot more
INSERT INTO reviews (id, book_id, user_id, rating, text, created_at, updated_at)
SELECT pg_temp.key('review', number, times.at), new_books.id, new_users.id,
    (ARRAY[1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5])[1 + floor(pg_temp.hash_float(number, 2) * 11)::int],
    CASE WHEN pg_temp.hash_float(number, 3) < 0.7 THEN (:sentences)[1 + floor(pg_temp.hash_float(number, 4) * :sentence_count)::int]
        || ' ' || (:sentences)[1 + floor(pg_temp.hash_float(number, 5) * :sentence_count)::int] END,
    times.at, times.at
FROM generate_series(1, :books) AS rank
CROSS JOIN LATERAL (SELECT floor(:reviews * sqrt(rank / :books::float8))::int - floor(:reviews * sqrt((rank - 1) / :books::float8))::int
    + CASE rank WHEN 1 THEN :hot ELSE 0 END AS count) AS review_counts
CROSS JOIN LATERAL generate_series(1, count) AS place
CROSS JOIN LATERAL (SELECT rank::bigint * :users + place AS number) AS numbered
CROSS JOIN LATERAL (SELECT :anchor - pg_temp.hash_float(number, 1) * interval '700 days' AS at) AS times
JOIN new_books ON new_books.n = 1 + rank::bigint * :stride % :books
JOIN new_users ON new_users.n = 1 + (rank::bigint * 104729 + place::bigint * 7919) % :users;

-- ── ratings
INSERT INTO book_ratings (book_id, one, two, three, four, five)
SELECT new_books.id, count(*) FILTER (WHERE rating = 1), count(*) FILTER (WHERE rating = 2), count(*) FILTER (WHERE rating = 3),
    count(*) FILTER (WHERE rating = 4), count(*) FILTER (WHERE rating = 5)
FROM new_books LEFT JOIN reviews ON book_id = new_books.id GROUP BY new_books.id;

-- ── orders: 80 % are shipped, 15 % are confirmed, 5 % are cancelled
CREATE TEMP TABLE new_orders AS
SELECT new_order.n, pg_temp.key('order', new_order.n, times.at) AS id, new_users.id AS user_id, times.at,
    CASE WHEN outcome < 0.05 THEN 'CANCELLED' WHEN outcome < 0.2 THEN 'CONFIRMED' ELSE 'SHIPPED' END AS status
FROM generate_series(1, :orders) AS new_order (n)
CROSS JOIN LATERAL (SELECT :anchor - pg_temp.hash_float(new_order.n, 1) * interval '365 days' AS at) AS times
CROSS JOIN LATERAL (SELECT pg_temp.hash_float(new_order.n, 3) AS outcome) AS outcomes
JOIN new_users ON new_users.n = 1 + floor(pg_temp.hash_float(new_order.n, 2) * :users)::int;

CREATE TEMP TABLE new_items AS
SELECT new_orders.id AS order_id, new_orders.at, status, place, new_books.id AS book_id, title, price,
    1 + floor(pg_temp.hash_float(new_orders.n, 30 + place) * 3)::int AS quantity
FROM new_orders
CROSS JOIN generate_series(0, 2) AS place
JOIN new_books ON new_books.n = 1 + (floor(pg_temp.hash_float(new_orders.n, 4) * pg_temp.hash_float(new_orders.n, 5) * :books)::bigint
    + place * :stride::bigint) % :books
WHERE place <= floor(pg_temp.hash_float(new_orders.n, 6) * 3);

INSERT INTO orders (id, number, user_id, status, total, total_quantity, currency, idempotency_key, input_digest,
    payment_token, placed_at, shipped_at, cancelled_at, refunded_at)
SELECT id, substr(digits, 1, 4) || '-' || substr(digits, 5, 4) || '-' || substr(digits, 9, 4), user_id, status,
    total, copies, 'EUR', 'benchmark-' || n, sha256(n::text::bytea), 'mock-approve', at,
    CASE status WHEN 'SHIPPED' THEN at + interval '1 day' END, cancelled, cancelled
FROM new_orders
JOIN (SELECT order_id, sum(price * quantity) AS total, sum(quantity) AS copies FROM new_items GROUP BY order_id) AS sums
    ON order_id = id
CROSS JOIN LATERAL (SELECT upper(lpad(to_hex(n), 12, '0')) AS digits) AS numbers
CROSS JOIN LATERAL (SELECT CASE status WHEN 'CANCELLED' THEN at + interval '1 hour' END AS cancelled) AS ends;

-- ── order new_items
INSERT INTO order_items (order_id, id, book_id, title, quantity, unit_price)
SELECT order_id, pg_temp.key('line' || order_id, place, at), book_id, title, quantity, price FROM new_items;

-- ── payments and emails
INSERT INTO mock_payments (key, status, amount, currency, created_at, refunded_at)
SELECT id::text, 'APPROVED', total, currency, placed_at, refunded_at FROM orders;
INSERT INTO letters (id, kind, subject_id, user_id, status, created_at, settled_at)
SELECT pg_temp.key('letter', n, at), 'ORDER_CONFIRMED', id, user_id, 'SENT', at, at FROM new_orders;

-- ── stock movements: deliveries, sales, cancellations
INSERT INTO stock_movements (id, book_id, title, change, reason, created_at)
SELECT pg_temp.key('delivery', n, at), id, title, stock + coalesce(sold, 0), 'NEW_BOOK', at
FROM new_books
LEFT JOIN (SELECT book_id, sum(quantity) AS sold FROM new_items WHERE status <> 'CANCELLED' GROUP BY book_id) AS sales
    ON book_id = id
WHERE stock + coalesce(sold, 0) > 0;
INSERT INTO stock_movements (id, book_id, title, change, reason, order_id, created_at)
SELECT pg_temp.key(reason || order_id, place, at), book_id, title, direction * quantity, reason, order_id, at
FROM new_items JOIN (VALUES ('SALE', -1), ('CANCELLATION', 1)) AS movements (reason, direction)
    ON reason = 'SALE' OR status = 'CANCELLED';

-- ── sales of the last 90 days
UPDATE sales_window SET since = :anchor - interval '90 days';
INSERT INTO book_sales (book_id, copies)
SELECT new_books.id, coalesce(sum(quantity) FILTER (WHERE new_items.at >= :anchor - interval '90 days' AND status <> 'CANCELLED'), 0)
FROM new_books LEFT JOIN new_items ON book_id = new_books.id GROUP BY new_books.id;
