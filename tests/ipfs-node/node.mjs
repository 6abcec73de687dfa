// A js-ipfs node that knows nobody: `node node.mjs REPO PORT` serves its RPC API on 127.0.0.1 until it is told to end.
import { create } from 'ipfs-core'
import { HttpApi } from 'ipfs-http-server'

const [repo, port] = process.argv.slice(2)
const ipfs = await create({
  repo,
  offline: true,
  silent: true,
  init: { algorithm: 'Ed25519', emptyRepo: true },
  config: {
    Addresses: { Swarm: [], API: `/ip4/127.0.0.1/tcp/${port}`, Gateway: '' },
    Bootstrap: [],
    Discovery: { MDNS: { Enabled: false } }
  }
})
const api = new HttpApi(ipfs)
await api.start()
process.once('SIGTERM', async () => {
  await api.stop()
  await ipfs.stop()
  process.exit(0)
})
