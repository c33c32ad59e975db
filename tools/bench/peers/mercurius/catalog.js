// Books and reviews. One statement reads a book or a review with its relations, as in our server.

import { read, cachedCount } from './database.js'
import { globalId, keyOf } from './ids.js'

const CURRENCY = 'EUR'

export function money (amount) {
  return { amount, currency: CURRENCY }
}

// Returns a book from its columns; those that a statement does not select stay undefined.
function book (key, { title, isbn, description, price, stock, authors, genre, count, average }) {
  return {
    key,
    id: globalId('Book', key),
    title,
    isbn,
    description,
    price: money(price),
    stockQuantity: stock,
    authors: (authors ?? []).map(name => ({ name })),
    genre: genre ? { name: genre } : null,
    averageRating: count ? Number(average) : null,
    reviewCount: count ?? 0
  }
}

function listRow ([, key, title, isbn, price, stock, authors, genre, count, average]) {
  return book(key, { title, isbn, price, stock, authors, genre, count, average })
}

function matchRow ([, key, title, price, stock, authors, count, average]) {
  return book(key, { title, price, stock, authors, count, average })
}

function detailRow ([key, title, isbn, description, price, stock, authors, genre, count, average]) {
  return book(key, { title, isbn, description, price, stock, authors, genre, count, average })
}

// Returns a book of a cart, with its title.
export function titleRow ([key, , title]) {
  return { key, id: globalId('Book', key), title }
}

async function connection (query, size, makeNode) {
  const rows = await query
  const page = rows.slice(0, size)
  const end = page.at(-1)
  const endCursor = end ? Buffer.from(JSON.stringify([end[0], end[1]])).toString('base64url') : null
  return { nodes: page.map(makeNode), pageInfo: { hasNextPage: rows.length > size, endCursor } }
}

function decodeCursor (text) {
  const [at, id] = JSON.parse(Buffer.from(text, 'base64url'))
  return { after_key: at, after_id: id }
}

function formatDateTime (text) {
  return new Date(`${text.replace(' ', 'T')}:00`).toISOString()
}

async function reviews (parent, { first }) {
  const rows = await read('reviews', { book_id: parent.key, limit: first + 1 })
  const nodes = rows.slice(0, first).map(([, key, rating, text, at, displayName]) => ({
    id: globalId('Review', key), rating, text, createdAt: formatDateTime(at), reviewer: { displayName }
  }))
  return { nodes, pageInfo: { hasNextPage: rows.length > first, endCursor: null } }
}

export const resolvers = {
  Query: {
    books (_, { search, first, after }) {
      const limit = first + 1
      if (search) return connection(read('search', { search: search.toLowerCase(), limit }), first, matchRow)
      if (after) return connection(read('newestAfter', { ...decodeCursor(after), limit }), first, listRow)
      return connection(read('newest', { limit }), first, listRow)
    },
    async book (_, { by }) {
      return (await read('book', { value: keyOf('Book', by.id) })).map(detailRow)[0] ?? null
    }
  },
  BookConnection: {
    totalCount: () => cachedCount('books', async () => Number((await read('countBooks', {}))[0][0]))
  },
  Book: { reviews }
}
