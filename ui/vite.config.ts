// How the page is built: into the server's package, with a digest in each name.
import { defineConfig, type Plugin } from 'vite'

/** KaTeX's style names each font in three formats; every browser of today takes the first. */
const onlyWoff2: Plugin = {
  name: 'only-woff2',
  enforce: 'pre',
  transform(code, id) {
    if (!id.includes('katex.min.css')) return null
    return code.replace(/,url\([^)]*\.(?:woff|ttf)\) format\("[^"]*"\)/g, '')
  },
}

const server = process.env.LLAMAPACK_URL ?? 'http://127.0.0.1:8080'

export default defineConfig({
  base: './',
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact', legalComments: 'none' },
  plugins: [onlyWoff2],
  build: {
    outDir: process.env.PAGE_OUT ?? '../server/page/static',
    emptyOutDir: true,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
  },
  server: {
    proxy: Object.fromEntries(
      ['/v1', '/props', '/slots', '/health', '/apply-template', '/api', '/models'].map((path) => [path, server]),
    ),
  },
})
