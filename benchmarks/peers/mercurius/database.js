// Our server's statements on pools like its own: prepared, read-only for reads, planned anew where values decide.

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

// Instants stay text: a Date has milliseconds only, and cursors need what PostgreSQL has.
const instants = { to: 1184, from: [1114, 1184], serialize: text => text, parse: text => text }

function pool (max, settings) {
  const { PGHOST: host, PGPORT: port, PGDATABASE: database, PGUSER: username, PGPASSWORD: password } = process.env
  return postgres({
    host, port: Number(port), database, username, password, max, types: { instants }, connection: { ...session, ...settings }
  })
}

const readOnly = { default_transaction_read_only: 'on' }
const reads = pool(15, readOnly)
const skewedReads = pool(5, { ...readOnly, plan_cache_mode: 'force_custom_plan' })
export const writes = pool(15, {})

const prepared = { prepare: true }

// Rows as arrays, in the order of the columns.
export function ask (name, values) {
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

// Counts may be a second old, as in our server: whoever asks meanwhile gets the same.
const recent = new Map()

export function recentCount (key, count) {
  const known = recent.get(key)
  if (known && performance.now() - known.at < 1000) return known.count
  const counted = count()
  recent.set(key, { at: performance.now(), count: counted })
  counted.catch(() => recent.delete(key))
  return counted
}

export async function close () {
  await Promise.all([reads.end(), skewedReads.end(), writes.end()])
}
