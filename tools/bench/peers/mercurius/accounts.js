// Authentication: an access token, its session and its user, read once per request.

import { createVerifier } from 'fast-jwt'
import { read } from './database.js'

const verify = createVerifier({
  key: Buffer.from(process.env.ACCESS_TOKEN_KEY, 'hex'),
  algorithms: ['HS256'],
  allowedIss: process.env.PUBLIC_URL,
  allowedAud: 'bookstore'
})

// Returns the user's id; throws if the token is invalid or its session has ended.
export async function authenticate (authorization) {
  const [scheme, token] = (authorization ?? '').split(' ')
  if (scheme.toLowerCase() !== 'bearer' || !token) throw new Error('Sign in first.')
  const [viewer] = await read('viewer', { id: verify(token).sid })
  const [userId, , , , , isActive] = viewer ?? []
  if (!viewer || !viewer[9] || !isActive) throw new Error('The session has ended. Sign in again.')
  return userId
}
