// Copying to the clipboard, also where the page came over plain HTTP from another machine.
import { notify } from './Toasts'
import { texts } from '../texts'

/** Whether the text is in the clipboard now. Says so if it is not. */
export async function copyText(text: string): Promise<boolean> {
  const isDone = (await copyAsync(text)) || copyBySelection(text)
  if (!isDone) notify(texts.common.notCopied, 'error')
  return isDone
}

async function copyAsync(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return false
  }
}

/** The old way, which needs no secure context. */
function copyBySelection(text: string): boolean {
  const area = document.createElement('textarea')
  area.value = text
  area.className = 'visually-hidden'
  // In a dialog nothing outside of it can be selected.
  const place = document.querySelector('dialog[open]') ?? document.body
  place.append(area)
  area.select()
  const isDone = document.execCommand('copy')
  area.remove()
  return isDone
}
