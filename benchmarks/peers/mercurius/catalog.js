// Books and reviews: resolvers for lists, loaders for what many books ask at once.

import { ask, recentCount } from './database.js'
import { globalId, keyOf } from './ids.js'

const CURRENCY = 'EUR'

export function money (amount) {
  return { amount, currency: CURRENCY }
}

// A book as its columns come; `page` is what it was read with, so that ratings are asked for once.
export function book (columns, page) {
  return {
    key: columns[0],
    id: globalId('Book', columns[0]),
    title: columns[2],
    isbn: columns[4],
    description: columns[5],
    genreId: columns[7],
    price: money(columns[13]),
    stockQuantity: columns[14],
    page
  }
}

function page (rows, size, offset) {
  const shared = { keys: [], ratings: null }
  const nodes = rows.slice(0, size).map(row => book(row.slice(offset), shared))
  shared.keys = nodes.map(node => node.key)
  return nodes
}

async function connection (rows, size) {
  const found = await rows
  const nodes = page(found, size, 2)
  const end = nodes.length ? found[nodes.length - 1] : null
  return { nodes, pageInfo: { hasNextPage: found.length > size, endCursor: end && cursor(end[0], end[1]) } }
}

function cursor (at, id) {
  return Buffer.from(JSON.stringify([at, id])).toString('base64url')
}

function position (text) {
  const [at, id] = JSON.parse(Buffer.from(text, 'base64url'))
  return { after_key: at, after_id: id }
}

function ratingsOf (shared) {
  shared.ratings ??= ask('ratings', { ids: shared.keys }).then(rows => new Map(rows.map(row => [row[0], row])))
  return shared.ratings
}

function instant (text) {
  return new Date(`${text.replace(' ', 'T')}:00`).toISOString()
}

async function reviews (parent, { first }) {
  const rows = await ask('reviews', { book_id: parent.key, limit: first + 1 })
  const nodes = rows.slice(0, first).map(row => ({
    id: globalId('Review', row[1]), userId: row[4], rating: row[5], text: row[6], createdAt: instant(row[7])
  }))
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
      return page(await ask('books', { ids: [keyOf('Book', by.id)] }), 1, 0)[0] ?? null
    }
  },
  BookConnection: {
    totalCount: () => recentCount('books', async () => Number((await ask('countBooks', {}))[0][0]))
  },
  Book: { reviews }
}

const fresh = { cache: false } // each batch is asked for once in a request anyway

export const loaders = {
  Book: {
    authors: {
      opts: fresh,
      async loader (queries) {
        const found = new Map(queries.map(({ obj }) => [obj.key, []]))
        for (const [bookId, id, , name] of await ask('authors', { ids: [...found.keys()] })) {
          found.get(bookId).push({ id: globalId('Author', id), name })
        }
        return queries.map(({ obj }) => found.get(obj.key))
      }
    },
    genre: {
      opts: fresh,
      async loader (queries) {
        const ids = [...new Set(queries.map(({ obj }) => obj.genreId).filter(Boolean))]
        const rows = await ask('genres', { ids })
        const found = new Map(rows.map(([id, , name]) => [id, { id: globalId('Genre', id), name }]))
        return queries.map(({ obj }) => found.get(obj.genreId) ?? null)
      }
    },
    averageRating: {
      opts: fresh,
      async loader (queries) {
        const found = await ratingsOf(queries[0].obj.page)
        return queries.map(({ obj }) => average(found.get(obj.key)))
      }
    },
    reviewCount: {
      opts: fresh,
      async loader (queries) {
        const found = await ratingsOf(queries[0].obj.page)
        return queries.map(({ obj }) => found.get(obj.key)?.[6] ?? 0)
      }
    }
  },
  Review: {
    reviewer: {
      opts: fresh,
      async loader (queries) {
        const rows = await ask('users', { ids: [...new Set(queries.map(({ obj }) => obj.userId))] })
        const found = new Map(rows.map(row => [row[0], { displayName: row[2] }]))
        return queries.map(({ obj }) => found.get(obj.userId))
      }
    }
  }
}

function average (row) {
  return row?.[6] ? Number(row[7]) : null
}
