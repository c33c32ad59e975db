// Our server's statements on pools like its own: prepared, read-only for reads, with custom plans where values are skewed.

import { readFileSync } from 'node:fs'
import postgres from 'postgres'

const statements = JSON.parse(readFileSync(new URL('./statements.json', import.meta.url)))

const session = {
  application_name: 'mercurius',
  timezone: 'UTC',
  statement_timeout: '5s',
  lock_timeout: '3s',
  idle_in_transaction_session_timeout: '15s'
}

// Timestamps stay text: a Date has milliseconds, and cursors need microseconds.
const timestamps = { to: 1184, from: [1114, 1184], serialize: text => text, parse: text => text }

function pool (max, settings) {
  const { PGHOST: host, PGPORT: port, PGDATABASE: database, PGUSER: username, PGPASSWORD: password } = process.env
  return postgres({
    host, port: Number(port), database, username, password, max, types: { timestamps }, connection: { ...session, ...settings }
  })
}

const readOnly = { default_transaction_read_only: 'on' }
const reads = pool(15, readOnly)
const skewedReads = pool(5, { ...readOnly, plan_cache_mode: 'force_custom_plan' })
export const writes = pool(15, {})

const prepared = { prepare: true }

// Returns rows as arrays, in the order of the columns.
export function read (name, values) {
  const { skewed } = statements[name]
  return run(skewed ? skewedReads : reads, name, values)
}

export function run (connection, name, values) {
  const { sql, parameters, fixed } = statements[name]
  return connection.unsafe(sql, parameters.map(parameter => values[parameter] ?? fixed[parameter]), prepared).values()
}

export function write (transaction, sql, ...values) {
  return transaction.unsafe(sql, values, prepared).values()
}

// Counts may be a second old, as in our server.
const counts = new Map()

export function cachedCount (key, count) {
  const cached = counts.get(key)
  if (cached && performance.now() - cached.at < 1000) return cached.count
  const pending = count()
  counts.set(key, { at: performance.now(), count: pending })
  pending.catch(() => counts.delete(key))
  return pending
}

export async function close () {
  await Promise.all([reads.end(), skewedReads.end(), writes.end()])
}
