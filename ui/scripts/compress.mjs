// Writes the gzip and brotli forms of the built files beside them, where they are smaller.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const folder = process.env.PAGE_OUT ?? '../server/page/static'
const LEAST_BYTES = 512

for (const entry of readdirSync(folder, { recursive: true })) {
  const path = join(folder, entry)
  if (!/\.(html|js|css|svg)$/.test(path)) continue
  const plain = readFileSync(path)
  if (plain.length < LEAST_BYTES) continue
  writeFileSync(`${path}.gz`, gzipSync(plain, { level: 9 }))
  writeFileSync(
    `${path}.br`,
    brotliCompressSync(plain, {
      params: {
        [constants.BROTLI_PARAM_QUALITY]: 11,
        [constants.BROTLI_PARAM_SIZE_HINT]: plain.length,
      },
    }),
  )
}
