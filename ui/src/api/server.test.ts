// Which models the page offers.
import { expect, test } from 'vitest'
import { modelEntries } from './server'

test('what is being downloaded is not offered', () => {
  const data = ['loaded', 'unloaded', 'downloading', 'sleeping'].map((value) => ({ id: value, status: { value } }))
  expect(modelEntries({ data }).map((entry) => entry.id)).toEqual(['loaded', 'unloaded', 'sleeping'])
})

test('a server that tells no status has loaded its models', () => {
  expect(modelEntries({ data: [{ id: 'a' }] })).toMatchObject([{ id: 'a', state: 'loaded', aliases: [] }])
  expect(modelEntries('nonsense')).toEqual([])
})
