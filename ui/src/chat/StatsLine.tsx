// The figures under an answer: speed, tokens, what the cache had, and the time to the first token.
import { texts } from '../texts'
import { rate, seconds } from './format'
import type { Stats } from './model'

export function StatsLine({ stats }: { stats: Stats | null }) {
  if (!stats || !stats.answerTokens) return null
  const cached = stats.promptTokens ? Math.round((100 * stats.cachedTokens) / stats.promptTokens) : 0
  const accepted = stats.draftTokens ? Math.round((100 * stats.acceptedTokens) / stats.draftTokens) : 0
  return (
    <ul class="stats numbers" aria-label={texts.stats.label}>
      {stats.perSecond > 0 && <li>{texts.stats.speed(rate(stats.perSecond))}</li>}
      <li title={texts.stats.tokensHelp(stats.promptTokens, stats.answerTokens)}>{texts.stats.tokens(stats.answerTokens)}</li>
      <li title={texts.stats.cachedHelp(stats.cachedTokens, stats.promptTokens)}>{texts.stats.cached(cached)}</li>
      {stats.firstTokenMs > 0 && <li>{texts.stats.first(seconds(stats.firstTokenMs))}</li>}
      {stats.draftTokens > 0 && <li>{texts.stats.drafts(accepted)}</li>}
    </ul>
  )
}
