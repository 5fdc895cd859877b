// Requests to the server that the page came from: its address, its key, its errors.
import { apiKey, askForKey } from './key'
import { ApiError, Unreachable, errorOf } from './errors'
import { texts } from '../texts'

/** Where the server's routes begin: the folder of the page, so that `--api-prefix` holds. */
export function baseUrl(): string {
  return new URL('.', document.baseURI).href
}

/** The full address of a route such as `v1/models`. */
export function urlOf(path: string): string {
  return new URL(path.replace(/^\//, ''), baseUrl()).href
}

export interface RequestOptions {
  readonly method?: 'GET' | 'POST' | 'DELETE'
  /** Sent as JSON. */
  readonly body?: unknown
  readonly signal?: AbortSignal
  /** Whether the user is asked for a key if the server wants one; otherwise that is an error. */
  readonly mayAsk?: boolean
  readonly accept?: string
}

/**
 * The response of a route. Raises `ApiError` for a refusal and `Unreachable` without an answer.
 *
 * If the server wants a key, the user is asked for one, and the request is sent again.
 */
export async function request(path: string, options: RequestOptions = {}): Promise<Response> {
  for (;;) {
    const sentKey = apiKey.value
    const response = await send(path, options, sentKey)
    if (response.ok) return response
    const error = await refusal(response)
    if (error.status !== 401 || options.mayAsk === false) throw error
    // Another request may have got a key meanwhile.
    if (apiKey.value !== sentKey) continue
    if (!(await askForKey(sentKey ? error.message : ''))) throw error
  }
}

/** The JSON of a route. Raises like `request`. */
export async function getJson<T>(path: string, options: RequestOptions = {}): Promise<T> {
  return (await request(path, options)).json() as Promise<T>
}

/** The JSON that a route answers to a body. Raises like `request`. */
export function postJson<T>(path: string, body: unknown, options: RequestOptions = {}): Promise<T> {
  return getJson<T>(path, { ...options, method: 'POST', body })
}

async function send(path: string, options: RequestOptions, key: string): Promise<Response> {
  const headers = new Headers()
  if (key) headers.set('Authorization', `Bearer ${key}`)
  if (options.accept) headers.set('Accept', options.accept)
  const init: RequestInit = { method: options.method ?? 'GET', headers, cache: 'no-store', credentials: 'same-origin' }
  if (options.body !== undefined) {
    headers.set('Content-Type', 'application/json')
    init.body = JSON.stringify(options.body)
  }
  if (options.signal) init.signal = options.signal
  try {
    return await fetch(urlOf(path), init)
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new Unreachable(texts.errors.unreachable)
  }
}

async function refusal(response: Response): Promise<ApiError> {
  const retryAfter = Number(response.headers.get('Retry-After')) || 0
  const body: unknown = await response.json().catch(() => null)
  return errorOf(response.status, body, retryAfter)
}
