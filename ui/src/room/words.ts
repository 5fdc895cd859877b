// What the cache did for a request, in words.
import { texts } from '../texts'
import { count } from './format'
import type { CacheView } from './types'

/** Where a request's tokens came from; "" if none did. */
export function sourceText(cache: CacheView, promptTokens: number): string {
  if (!cache.reused || !cache.source) return ''
  const place = texts.room.cache.sources[cache.source] ?? cache.source
  const source = cache.checkpoint ? `${place}, ${texts.room.cache.checkpoint}` : place
  return texts.room.cache.reused(count(cache.reused), count(promptTokens), source)
}

/** Why a request got no more from the cache. */
export function reasonText(cache: CacheView): string {
  const why = texts.room.cache.why[cache.result] ?? cache.result
  const hadMore = cache.shared > cache.reused && cache.result.startsWith('no_')
  return hadMore ? `${why} ${texts.room.cache.missed(count(cache.shared))}` : why
}
