// A bookshop with Mercurius and JIT: `node server.js PORT`.

import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import mercurius from 'mercurius'
import { authenticate } from './accounts.js'
import * as catalog from './catalog.js'
import { close } from './database.js'
import * as orders from './orders.js'

const app = Fastify()

app.register(mercurius, {
  schema: readFileSync(new URL('./schema.graphql', import.meta.url), 'utf8'),
  resolvers: { ...catalog.resolvers, ...orders.resolvers },
  context: request => ({ authenticate: () => authenticate(request.headers.authorization) }),
  jit: 1
})

app.addHook('onClose', close)
process.on('SIGTERM', () => app.close().then(() => process.exit(0)))
await app.listen({ host: '127.0.0.1', port: Number(process.argv[2]) })
