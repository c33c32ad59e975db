// Books and reviews. What a book or a review comes with is read in the statement that reads it, as our server does.

import { ask, recentCount } from './database.js'
import { globalId, keyOf } from './ids.js'

const CURRENCY = 'EUR'

export function money (amount) {
  return { amount, currency: CURRENCY }
}

// A book from its columns; those that a statement does not read stay undefined.
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

function listed ([, key, title, isbn, price, stock, authors, genre, count, average]) {
  return book(key, { title, isbn, price, stock, authors, genre, count, average })
}

function foundBySearch ([, key, title, price, stock, authors, count, average]) {
  return book(key, { title, price, stock, authors, count, average })
}

function shown ([key, title, isbn, description, price, stock, authors, genre, count, average]) {
  return book(key, { title, isbn, description, price, stock, authors, genre, count, average })
}

// The books of a cart, of which the title is asked.
export function titled ([key, , title]) {
  return { key, id: globalId('Book', key), title }
}

async function connection (rows, size, made) {
  const found = await rows
  const page = found.slice(0, size)
  const end = page.at(-1)
  const endCursor = end ? Buffer.from(JSON.stringify([end[0], end[1]])).toString('base64url') : null
  return { nodes: page.map(made), pageInfo: { hasNextPage: found.length > size, endCursor } }
}

function position (text) {
  const [at, id] = JSON.parse(Buffer.from(text, 'base64url'))
  return { after_key: at, after_id: id }
}

function instant (text) {
  return new Date(`${text.replace(' ', 'T')}:00`).toISOString()
}

async function reviews (parent, { first }) {
  const rows = await ask('reviews', { book_id: parent.key, limit: first + 1 })
  const nodes = rows.slice(0, first).map(([, key, rating, text, at, displayName]) => ({
    id: globalId('Review', key), rating, text, createdAt: instant(at), reviewer: { displayName }
  }))
  return { nodes, pageInfo: { hasNextPage: rows.length > first, endCursor: null } }
}

export const resolvers = {
  Query: {
    books (_, { search, first, after }) {
      const limit = first + 1
      if (search) return connection(ask('search', { search: search.toLowerCase(), limit }), first, foundBySearch)
      if (after) return connection(ask('newestAfter', { ...position(after), limit }), first, listed)
      return connection(ask('newest', { limit }), first, listed)
    },
    async book (_, { by }) {
      return (await ask('book', { value: keyOf('Book', by.id) })).map(shown)[0] ?? null
    }
  },
  BookConnection: {
    totalCount: () => recentCount('books', async () => Number((await ask('countBooks', {}))[0][0]))
  },
  Book: { reviews }
}
