// What can be attached to a message, and how a file becomes an attachment.
import type { Modalities } from '../api/server'
import { dataUrlOf } from '../parts/files'
import { texts } from '../texts'
import { newId, type AttachmentKind } from './model'
import type { NewAttachment } from './session'

/** What a file chooser offers, by kind. */
export const ACCEPT: Readonly<Record<AttachmentKind, string>> = {
  document: '.pdf,application/pdf,text/*,.md,.txt,.csv,.json,.jsonl,.xml,.yaml,.yml,.toml,.py,.js,.ts,.c,.h,.cpp,.rs,.go,.java,.sh,.sql,.html,.css,.log',
  image: 'image/png,image/jpeg,image/webp,image/gif',
  audio: 'audio/wav,audio/mpeg',
}

/** Why a kind can't be attached; "" if it can. */
export function refusalOf(kind: AttachmentKind, modalities: Modalities | undefined): string {
  if (kind === 'document') return ''
  if (!modalities) return texts.composer.unknownAbilities
  if (kind === 'image') return modalities.vision ? '' : texts.composer.noImages
  return modalities.audio ? '' : texts.composer.noAudio
}

/** The kind of a file, by its type and name. */
export function kindOf(file: Pick<File, 'type'>): AttachmentKind {
  if (file.type.startsWith('image/')) return 'image'
  return file.type.startsWith('audio/') ? 'audio' : 'document'
}

/** A file as an attachment; `mib` is the most that a request may have. Raises an `Error` with the user's words for a file that can't be sent. */
export async function attachmentOf(file: File, modalities: Modalities | undefined, mib = 16): Promise<NewAttachment> {
  const kind = kindOf(file)
  const refusal = refusalOf(kind, modalities)
  if (refusal) throw new Error(refusal)
  // Base64 takes four bytes for three; the rest of the request needs room too.
  if (file.size * 1.37 > mib * 1024 * 1024 * 0.95) throw new Error(texts.composer.tooLarge(file.name, mib))
  const isPdf = file.type === 'application/pdf' || /\.pdf$/i.test(file.name)
  if (kind === 'document' && !isPdf && !(await isText(file))) throw new Error(texts.composer.unreadable(file.name))
  const type = kind === 'document' ? (isPdf ? 'application/pdf' : 'text/plain') : file.type
  const url = await dataUrlOf(new Blob([file], { type }))
  return { id: newId(), name: file.name, type, size: file.size, kind, url }
}

async function isText(file: File): Promise<boolean> {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer())
    return !text.includes('\0')
  } catch {
    return false
  }
}
