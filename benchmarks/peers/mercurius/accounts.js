// Who asks: a signed token, and the session and the user it names, read from the database once a request.

import { createVerifier } from 'fast-jwt'
import { ask } from './database.js'

const verify = createVerifier({
  key: Buffer.from(process.env.ACCESS_TOKEN_KEY, 'hex'),
  algorithms: ['HS256'],
  allowedIss: process.env.PUBLIC_URL,
  allowedAud: 'bookstore'
})

// The user's id; throws for a token that is no good, and for one whose session is over.
export async function customerOf (authorization) {
  const [scheme, token] = (authorization ?? '').split(' ')
  if (scheme.toLowerCase() !== 'bearer' || !token) throw new Error('Sign in first.')
  const [viewer] = await ask('viewer', { id: verify(token).sid })
  const [userId, , , , , isActive] = viewer ?? []
  if (!viewer || !viewer[9] || !isActive) throw new Error('This session is over. Sign in again.')
  return userId
}
