// What axe finds on a page: WCAG 2.2 A and AA, and best practices.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const SOURCE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** Colours are on their way for some milliseconds after a button is enabled. Spinners have no end. */
const settle = () =>
  Promise.allSettled(
    document
      .getAnimations()
      .filter((one) => one.playState === 'running' && Number.isFinite(one.effect?.getComputedTiming().endTime))
      .map((one) => one.finished),
  )

/** The findings that are serious or critical, in words. */
export async function serious(page) {
  await page.evaluate(SOURCE)
  await page.evaluate(settle)
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }))
  return violations
    .filter((one) => one.impact === 'serious' || one.impact === 'critical')
    .map((one) => `${one.id}: ${one.help}\n  ${one.nodes.map((node) => `${node.target.join(' ')} ${node.failureSummary}`).join('\n  ')}`)
}
