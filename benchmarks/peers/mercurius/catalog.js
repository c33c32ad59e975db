// Books and reviews. What all books of a page ask for is asked once, when the first of them asks.
// Mercurius's own loaders would do that, too, but tell books apart by writing them as JSON, for a third more CPU.

import { ask, recentCount } from './database.js'
import { globalId, keyOf } from './ids.js'

const CURRENCY = 'EUR'
const NOT_RATED = { average: null, count: 0 }

export function money (amount) {
  return { amount, currency: CURRENCY }
}

// Books that were read together.
class Page {
  keys = []
  genreIds = new Set()

  get authors () { return (this._authors ??= authorsOf(this.keys)) }
  get genres () { return (this._genres ??= genresOf([...this.genreIds])) }
  get ratings () { return (this._ratings ??= ratingsOf(this.keys)) }
}

async function authorsOf (ids) {
  const found = new Map(ids.map(id => [id, []]))
  for (const [bookId, id, , name] of await ask('authors', { ids })) {
    found.get(bookId).push({ id: globalId('Author', id), name })
  }
  return found
}

async function genresOf (ids) {
  return new Map((await ask('genres', { ids })).map(([id, , name]) => [id, { id: globalId('Genre', id), name }]))
}

async function ratingsOf (ids) {
  const rows = await ask('ratings', { ids })
  return new Map(rows.map(row => [row[0], { average: row[6] ? Number(row[7]) : null, count: row[6] }]))
}

async function readersOf (ids) {
  return new Map((await ask('users', { ids: [...ids] })).map(row => [row[0], { displayName: row[2] }]))
}

// Books from rows whose columns begin at `offset`.
export function books (rows, offset) {
  const page = new Page()
  return rows.map(row => {
    const key = row[offset]
    const genreId = row[offset + 7]
    page.keys.push(key)
    if (genreId) page.genreIds.add(genreId)
    return {
      key,
      genreId,
      page,
      id: globalId('Book', key),
      title: row[offset + 2],
      isbn: row[offset + 4],
      description: row[offset + 5],
      price: money(row[offset + 13]),
      stockQuantity: row[offset + 14]
    }
  })
}

async function connection (rows, size) {
  const found = await rows
  const shown = found.slice(0, size)
  const end = shown.at(-1)
  const endCursor = end ? Buffer.from(JSON.stringify([end[0], end[1]])).toString('base64url') : null
  return { nodes: books(shown, 2), pageInfo: { hasNextPage: found.length > size, endCursor } }
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
  const page = { ids: new Set(), get readers () { return (this._readers ??= readersOf(this.ids)) } }
  const nodes = rows.slice(0, first).map(row => {
    page.ids.add(row[4])
    return {
      page, userId: row[4], id: globalId('Review', row[1]), rating: row[5], text: row[6], createdAt: instant(row[7])
    }
  })
  return { nodes, pageInfo: { hasNextPage: rows.length > first, endCursor: null } }
}

export const resolvers = {
  Query: {
    books (_, { search, first, after }) {
      const limit = first + 1
      if (search) return connection(ask('search', { search: search.toLowerCase(), limit }), first)
      if (after) return connection(ask('newestAfter', { ...position(after), limit }), first)
      return connection(ask('newest', { limit }), first)
    },
    async book (_, { by }) {
      return books(await ask('books', { ids: [keyOf('Book', by.id)] }), 0)[0] ?? null
    }
  },
  BookConnection: {
    totalCount: () => recentCount('books', async () => Number((await ask('countBooks', {}))[0][0]))
  },
  Book: {
    reviews,
    authors: async ({ page, key }) => (await page.authors).get(key),
    genre: async ({ page, genreId }) => (genreId ? (await page.genres).get(genreId) : null),
    averageRating: async ({ page, key }) => ((await page.ratings).get(key) ?? NOT_RATED).average,
    reviewCount: async ({ page, key }) => ((await page.ratings).get(key) ?? NOT_RATED).count
  },
  Review: {
    reviewer: async ({ page, userId }) => (await page.readers).get(userId)
  }
}
