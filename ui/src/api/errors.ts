// What can go wrong between the page and the server.

/** The server's refusal, in its own words. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly type = '',
    /** The field of the request that is wrong; "" if none is named. */
    readonly param = '',
    /** Seconds after which another try makes sense; 0 if the server doesn't say. */
    readonly retryAfter = 0,
  ) {
    super(message)
    this.name = 'ApiError'
  }
}

/** The server can't be reached, or the connection broke. */
export class Unreachable extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'Unreachable'
  }
}

/** The error in an answer's body; the status alone where the body has none. */
export function errorOf(status: number, body: unknown, retryAfter = 0): ApiError {
  const error = isRecord(body) && isRecord(body.error) ? body.error : {}
  const message = typeof error.message === 'string' ? error.message : `HTTP ${status}`
  const type = typeof error.type === 'string' ? error.type : ''
  const param = typeof error.param === 'string' ? error.param : ''
  return new ApiError(status, message, type, param, retryAfter)
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
