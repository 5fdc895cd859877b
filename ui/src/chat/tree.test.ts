import { describe, expect, it } from 'vitest'
import { newMessage, type Message } from './model'
import { MessageTree } from './tree'

let clock = 0
const message = (id: string, parent: string | null): Message =>
  newMessage({ conversation: 'c', parent, role: 'user', id, content: id }, ++clock)

//  a - b - c
//    \ d - e
const tree = new MessageTree([message('a', null), message('b', 'a'), message('c', 'b'), message('d', 'a'), message('e', 'd')])
const ids = (messages: readonly Message[]): string => messages.map((one) => one.id).join('')

describe('a conversation', () => {
  it.each([
    ['c', 'abc'],
    ['e', 'ade'],
    ['b', 'ab'],
    [null, 'ade'],
    ['gone', 'ade'],
  ])('shows the branch that ends at %s', (leaf, shown) => {
    expect(ids(tree.path(leaf))).toBe(shown)
  })

  it('knows the versions of a message', () => {
    expect(ids(tree.siblings(tree.get('b')!))).toBe('bd')
    expect(ids(tree.siblings(tree.get('a')!))).toBe('a')
  })

  it('goes to the newest message of a branch', () => {
    expect(tree.newestLeaf('b')).toBe('c')
    expect(tree.newestLeaf('a')).toBe('e')
    expect(tree.newestLeaf(null)).toBe('e')
  })

  it('shows messages whose parent is gone, and never turns in a circle', () => {
    expect(ids(new MessageTree([message('x', 'gone'), message('y', 'x')]).path('y'))).toBe('xy')
    expect(ids(new MessageTree([message('x', 'y'), message('y', 'x')]).path('y'))).toBe('xy')
    expect(new MessageTree([]).path(null)).toEqual([])
  })
})
