// Global ids and UUIDs in our server's format.

import { randomBytes } from 'node:crypto'

export function globalId (kind, uuid) {
  return Buffer.from(`${kind}:${uuid.replaceAll('-', '')}`).toString('base64url')
}

export function keyOf (kind, id) {
  const [actualKind, hex] = Buffer.from(id, 'base64url').toString().split(':')
  if (actualKind !== kind || !/^[0-9a-f]{32}$/.test(hex)) throw new Error(`Invalid id of a ${kind}.`)
  return formatUuid(hex)
}

function formatUuid (hex) {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

let last = 0
let counter = 0

// Returns a UUIDv7: ordered by creation, also within a millisecond.
export function newId () {
  const now = Date.now()
  counter = now > last ? randomBytes(2).readUInt16BE() & 0x7ff : counter + 1
  last = Math.max(now, last)
  const bytes = randomBytes(16)
  bytes.writeUIntBE(last, 0, 6)
  bytes.writeUInt16BE(0x7000 | (counter & 0xfff), 6)
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  return formatUuid(bytes.toString('hex'))
}
