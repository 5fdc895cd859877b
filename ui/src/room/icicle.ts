// The layout of the prefix tree: to the right are later tokens, below each other are branches.
import type { NodeView } from './types'

export interface Box {
  readonly node: NodeView
  /** Of the whole width, from 0 to 1. */
  readonly left: number
  readonly width: number
  /** In rows, without the labels of scopes. */
  readonly top: number
  readonly rows: number
  /** Labels of scopes above it. */
  readonly labels: number
}

/** Where the tree of a cache scope begins. */
export interface ScopeLabel {
  readonly root: NodeView
  /** In rows, without the labels above it. */
  readonly top: number
}

export interface Layout {
  readonly boxes: readonly Box[]
  /** Empty where there is one scope only. */
  readonly labels: readonly ScopeLabel[]
  readonly rows: number
  /** Tokens of the whole width. */
  readonly tokens: number
}

/** Where each node lies. A node is as high as its branches together. */
export function layoutOf(nodes: readonly NodeView[]): Layout {
  const children = new Map<number | null, NodeView[]>()
  for (const node of nodes) children.set(node.parent, [...(children.get(node.parent) ?? []), node])
  const tokens = Math.max(...nodes.map((node) => node.start + node.tokens), 1)
  const boxes: Box[] = []
  const labels: ScopeLabel[] = []
  const place = (node: NodeView, top: number): number => {
    let rows = 0
    for (const child of inOrder(children.get(node.id))) rows += place(child, top + rows)
    const height = Math.max(rows, 1)
    if (node.parent !== null) {
      boxes.push({ node, left: node.start / tokens, width: node.tokens / tokens, top, rows: height, labels: labels.length })
    }
    return height
  }
  let rows = 0
  const roots = inOrder(children.get(null)).filter((root) => children.has(root.id))
  for (const root of roots) {
    if (roots.length > 1) labels.push({ root, top: rows })
    rows += place(root, rows)
  }
  return { boxes, labels, rows, tokens }
}

/** Old nodes stay above new ones, so that the picture moves little. */
function inOrder(nodes: readonly NodeView[] | undefined): readonly NodeView[] {
  return [...(nodes ?? [])].sort((a, b) => a.id - b.id)
}

export type Holder = 'running' | 'idle' | 'disk' | 'memory'

/** Where the tokens of a node are, the quickest place first. */
export function holderOf(node: NodeView, busy: ReadonlySet<number>): Holder {
  if (node.slots.some((slot) => busy.has(slot))) return 'running'
  if (node.slots.length) return 'idle'
  return node.from_disk > 0 && node.from_disk === node.saved ? 'disk' : 'memory'
}

/** Round positions for an axis of so many tokens. */
export function ticksOf(tokens: number, most = 6): readonly number[] {
  const rough = tokens / most
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough) ?? power
  const ticks = []
  for (let at = 0; at <= tokens; at += step) ticks.push(at)
  return ticks
}
