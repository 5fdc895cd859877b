// Exporting to a file and importing from a file, with notices of how it went.
import { chooseFiles, download } from '../parts/files'
import { notify } from '../parts/Toasts'
import { MOST_BYTES } from '../store/transfer'
import { texts } from '../texts'
import { NotImported, exported, importArchive } from './library'
import type { Conversation } from './model'

export async function exportToFile(some?: readonly Conversation[]): Promise<void> {
  const archive = await exported(some)
  const day = new Date().toISOString().slice(0, 10)
  const name = some?.length === 1 ? (some[0]?.title ?? '').replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 40) : 'chats'
  download(`llamapack-${name || 'chat'}-${day}.json`, JSON.stringify(archive))
}

export async function importFromFile(): Promise<void> {
  const [file] = await chooseFiles('application/json,.json')
  if (!file) return
  try {
    if (file.size > MOST_BYTES) throw new NotImported(texts.imports.large)
    notify(texts.list.imported(await importArchive(await file.text())))
  } catch (error) {
    const why = error instanceof NotImported ? error.message : texts.errors.storageFull
    notify(texts.list.notImported(why), 'error')
  }
}
