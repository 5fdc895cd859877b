// Builds the page in a folder of its own, and fails if the committed files differ or are too large.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'

const MOST_FIRST_KB = 400
const committed = '../server/page/static'
const built = mkdtempSync(join(tmpdir(), 'page-'))

try {
  execFileSync('npm', ['run', '--silent', 'build'], { env: { ...process.env, PAGE_OUT: built }, stdio: 'inherit' })
  const problems = [...differences(committed, built), ...oversize(committed)]
  for (const problem of problems) console.error(`page: ${problem}`)
  process.exitCode = problems.length ? 1 : 0
} finally {
  rmSync(built, { recursive: true })
}

function files(folder) {
  return readdirSync(folder, { recursive: true })
    .filter((name) => statSync(join(folder, name)).isFile())
    .sort()
}

/** What isn't the same. Compressed files are compared by content: zlib's versions compress differently. */
function differences(one, other) {
  const [ours, theirs] = [files(one), files(other)]
  const found = [
    ...ours.filter((name) => !theirs.includes(name)).map((name) => `${name} is committed, but not built`),
    ...theirs.filter((name) => !ours.includes(name)).map((name) => `${name} is built, but not committed`),
    ...ours
      .filter((name) => theirs.includes(name) && !content(one, name).equals(content(other, name)))
      .map((name) => `${name} differs from what is built`),
  ]
  return found.length ? [...found, 'run `make ui` and commit server/page/static'] : []
}

function content(folder, name) {
  const bytes = readFileSync(join(folder, name))
  if (name.endsWith('.gz')) return gunzipSync(bytes)
  return name.endsWith('.br') ? brotliDecompressSync(bytes) : bytes
}

/** What a browser loads before anything is shown: the page, what the page names, and what that names. */
function oversize(folder) {
  const index = readFileSync(join(folder, 'index.html'), 'utf8')
  const named = [...index.matchAll(/(?:src|href)="\.\/([^"]+)"/g)].map((match) => match[1])
  const styles = named.filter((name) => name.endsWith('.css')).map((name) => readFileSync(join(folder, name), 'utf8'))
  const fonts = styles.flatMap((style) => [...style.matchAll(/url\(\.\/([^)]+)\)/g)].map((match) => `assets/${match[1]}`))
  const bytes = ['index.html', ...named, ...fonts].map((name) => smallest(folder, name)).reduce((sum, size) => sum + size, 0)
  const kb = Math.ceil(bytes / 1000)
  console.log(`page: ${kb} kB on first load, at most ${MOST_FIRST_KB}`)
  return kb > MOST_FIRST_KB ? [`the first load is ${kb} kB, more than ${MOST_FIRST_KB}`] : []
}

function smallest(folder, name) {
  const names = new Set(files(folder))
  const found = names.has(`${name}.gz`) ? `${name}.gz` : name
  return statSync(join(folder, found)).size
}
