// The cart and checkout: the same transactions as our server's, with the same locks and the same ledger.

import { createHash, randomInt } from 'node:crypto'
import { money, titleRow } from './catalog.js'
import { read, run, write, writes } from './database.js'
import { globalId, keyOf, newId } from './ids.js'

const MAX_QUANTITY = 999
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

const LOCK_CART = 'SELECT user_id FROM carts WHERE user_id = $1 FOR UPDATE'
const LOCK_BOOK_KEY = 'SELECT stock_quantity FROM books WHERE id = $1 FOR KEY SHARE'
const SET_ITEM = `
INSERT INTO cart_items (id, user_id, book_id, quantity) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, book_id) DO UPDATE SET quantity = excluded.quantity`
const CLAIM_ORDER = `
INSERT INTO orders (id, number, user_id, total, total_quantity, currency, idempotency_key, input_digest, payment_token)
VALUES ($1, $2, $3, 0, 0, 'EUR', $4, $5, $6) ON CONFLICT DO NOTHING RETURNING id`
const ORDER_BY_KEY = 'SELECT id, number, status, total, total_quantity FROM orders WHERE user_id = $1 AND idempotency_key = $2'
const LOCK_BOOKS = 'SELECT id, title, price, stock_quantity FROM books WHERE id = ANY ($1::uuid[]) ORDER BY id FOR NO KEY UPDATE'
const TAKE_STOCK = `
UPDATE books SET stock_quantity = stock_quantity - copies
FROM unnest($1::uuid[], $2::int[]) AS taken (book_id, copies) WHERE id = book_id`
const ADD_MOVEMENTS = `
INSERT INTO stock_movements (id, book_id, title, change, reason, order_id)
SELECT id, book_id, title, -copies, 'SALE', $5
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[]) AS sold (id, book_id, title, copies)`
const ADD_ITEMS = `
INSERT INTO order_items (order_id, id, book_id, title, quantity, unit_price)
SELECT $6, * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::numeric[])`
const SET_TOTAL = `
UPDATE orders SET total = $2::numeric, total_quantity = $3 WHERE id = $1
RETURNING id, number, status, total, total_quantity`
const EMPTY_CART = 'DELETE FROM cart_items WHERE user_id = $1 AND book_id = ANY ($2::uuid[])'
const ADD_PAYMENT = `
INSERT INTO mock_payments (key, status, amount, currency) VALUES ($1, 'APPROVED', $2::numeric, 'EUR')
ON CONFLICT DO NOTHING`
const LOCK_ORDER = 'SELECT status FROM orders WHERE id = $1 FOR UPDATE'
const CONFIRM = "UPDATE orders SET status = 'CONFIRMED' WHERE id = $1"
const ADD_EMAIL = `
INSERT INTO letters (id, kind, subject_id, user_id, status, settled_at)
VALUES ($1, 'ORDER_CONFIRMED', $2, $3, 'SUPPRESSED', now()) ON CONFLICT DO NOTHING`
const ADD_SALES = `
WITH locked AS (
  SELECT book_sales.book_id, sold.copies FROM book_sales
  JOIN unnest($1::uuid[], $2::int[]) AS sold (book_id, copies) USING (book_id)
  ORDER BY book_sales.book_id FOR UPDATE OF book_sales
)
UPDATE book_sales SET copies = book_sales.copies + locked.copies FROM locked WHERE book_sales.book_id = locked.book_id`

class UserError extends Error {
  constructor (code, message) {
    super(message)
    this.code = code
  }
}

async function catchUserError (work) {
  try {
    return await work()
  } catch (error) {
    if (error instanceof UserError) return { __typename: 'Problem', code: error.code, message: error.message }
    throw error
  }
}

const cents = amount => Math.round(Number(amount) * 100)
const euros = sum => (sum / 100).toFixed(2)
const sum = numbers => numbers.reduce((total, number) => total + number, 0)

// Columns of a cart item: id, user, book, quantity, added, price, stock.
async function addToCart (userId, bookId, quantity) {
  await writes.begin(async transaction => {
    await write(transaction, LOCK_CART, userId)
    const lines = await run(transaction, 'cartItems', { user_ids: [userId] })
    const newQuantity = quantity + (lines.find(line => line[2] === bookId)?.[3] ?? 0)
    const [stock] = await write(transaction, LOCK_BOOK_KEY, bookId)
    if (!stock) throw new UserError('NOT_FOUND', 'The book does not exist.')
    if (newQuantity < 1 || newQuantity > MAX_QUANTITY) throw new UserError('INVALID_INPUT', `A cart holds at most ${MAX_QUANTITY} copies of a book.`)
    if (newQuantity > stock[0]) throw new UserError('ORDER_INSUFFICIENT_STOCK', 'There are not enough copies.')
    await write(transaction, SET_ITEM, newId(), userId, bookId, newQuantity)
  })
  return cart(userId)
}

async function cart (userId) {
  const items = await read('cartItems', { user_ids: [userId] })
  const rows = await read('books', { ids: items.map(item => item[2]) })
  const books = new Map(rows.map(titleRow).map(book => [book.key, book]))
  return {
    totalQuantity: sum(items.map(item => item[3])),
    total: money(euros(sum(items.map(item => item[3] * cents(item[5]))))),
    items: items.map(item => ({
      quantity: item[3], lineTotal: money(euros(item[3] * cents(item[5]))), book: books.get(item[2])
    }))
  }
}

// Three transactions: no lock is held during the payment.
async function checkout (userId, key, token) {
  const reserved = await writes.begin(transaction => reserve(transaction, userId, key, token))
  if (reserved.isNew) {
    await writes.begin(transaction => write(transaction, ADD_PAYMENT, reserved.order[0], reserved.order[3]))
    await writes.begin(transaction => finalize(transaction, userId, reserved.order[0]))
    reserved.order[2] = 'CONFIRMED'
  }
  const [id, number, status, total, totalQuantity] = reserved.order
  const items = await read('orderItems', { ids: [id] })
  return {
    id: globalId('Order', id), number, status, totalQuantity, total: money(total),
    items: items.map(item => ({ title: item[3], quantity: item[4], unitPrice: money(item[5]) }))
  }
}

async function reserve (transaction, userId, key, token) {
  const digest = createHash('sha256').update(JSON.stringify([key, token])).digest()
  const [claimed] = await write(transaction, CLAIM_ORDER, newId(), newNumber(), userId, key, digest, token)
  if (!claimed) return { isNew: false, order: (await write(transaction, ORDER_BY_KEY, userId, key))[0] }
  await write(transaction, LOCK_CART, userId)
  const lines = await run(transaction, 'cartItems', { user_ids: [userId] })
  if (!lines.length) throw new UserError('ORDER_CART_EMPTY', 'The cart is empty.')
  const ids = lines.map(line => line[2])
  const copies = lines.map(line => line[3])
  const books = new Map((await write(transaction, LOCK_BOOKS, ids)).map(row => [row[0], row]))
  if (lines.some(line => line[3] > books.get(line[2])[3])) {
    throw new UserError('ORDER_INSUFFICIENT_STOCK', 'There are not enough copies.')
  }
  const titles = ids.map(id => books.get(id)[1])
  const prices = ids.map(id => books.get(id)[2])
  const total = euros(sum(prices.map((price, index) => cents(price) * copies[index])))
  await write(transaction, TAKE_STOCK, ids, copies)
  await write(transaction, ADD_MOVEMENTS, ids.map(newId), ids, titles, copies, claimed[0])
  await write(transaction, ADD_ITEMS, ids.map(newId), ids, titles, copies, prices, claimed[0])
  const [order] = await write(transaction, SET_TOTAL, claimed[0], total, sum(copies))
  await write(transaction, EMPTY_CART, userId, ids)
  return { isNew: true, order }
}

async function finalize (transaction, userId, orderId) {
  await write(transaction, LOCK_ORDER, orderId)
  await write(transaction, CONFIRM, orderId)
  await write(transaction, ADD_EMAIL, newId(), orderId, userId)
  const items = await run(transaction, 'orderItems', { ids: [orderId] })
  await write(transaction, ADD_SALES, items.map(item => item[2]), items.map(item => item[4]))
}

function newNumber () {
  const four = () => Array.from({ length: 4 }, () => ALPHABET[randomInt(32)]).join('')
  return `${four()}-${four()}-${four()}`
}

export const resolvers = {
  Mutation: {
    addToCart: (_, { input }, { authenticate }) => catchUserError(async () => ({
      __typename: 'CartUpdated', cart: await addToCart(await authenticate(), keyOf('Book', input.bookId), input.quantity)
    })),
    checkout: (_, { input }, { authenticate }) => catchUserError(async () => ({
      __typename: 'OrderPlaced', order: await checkout(await authenticate(), input.idempotencyKey, input.paymentToken ?? null)
    }))
  },
  AddToCartResult: { resolveType: result => result.__typename },
  CheckoutResult: { resolveType: result => result.__typename },
  UserError: { resolveType: () => 'Problem' }
}
