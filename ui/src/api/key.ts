// The API key: asked for when the server wants one, and kept in this browser only.
import { signal } from '@preact/signals'
import { read, write } from '../store/local'

/** The key that requests carry; "" is none. */
export const apiKey = signal(read('key'))

/** Why the page asks for a key now; null while it doesn't. "" is the first time. */
export const keyQuestion = signal<string | null>(null)

let waiting: Array<(given: boolean) => void> = []

/** Ask the user for a key. Resolves to false if the user gives none. */
export function askForKey(reason: string): Promise<boolean> {
  keyQuestion.value = reason
  return new Promise((resolve) => waiting.push(resolve))
}

/** Take the user's key, and let the requests that wait for it go on. */
export function giveKey(key: string): void {
  setKey(key)
  answer(true)
}

/** The user gives no key: the requests that wait fail. */
export function refuseKey(): void {
  answer(false)
}

/** Keep a key; "" forgets it. */
export function setKey(key: string): void {
  apiKey.value = key
  write('key', key)
}

function answer(given: boolean): void {
  const asked = waiting
  waiting = []
  keyQuestion.value = null
  for (const resolve of asked) resolve(given)
}
