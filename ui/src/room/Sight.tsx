// A part of the room that is drawn anew while it is in sight: nobody sees the rest, and each drawing costs.
import { createContext, type VNode } from 'preact'
import { useCallback, useContext, useEffect, useRef, useState } from 'preact/hooks'

type SetBox = (box: Element | null) => void

const Box = createContext<SetBox>(() => undefined)

/** The ref for the element whose place decides whether the part is in sight. */
export function useBox(): SetBox {
  return useContext(Box)
}

/** Out of sight, a part is drawn so seldom: then its height is about right when one scrolls to it. */
const AWAY_MS = 5000

interface Props {
  /** It gives `useBox` to an element. */
  readonly children: VNode
  /** Whether its height never changes: then it is not drawn out of sight at all. */
  readonly isSteady?: boolean
}

/** Shows its child. What comes into sight is drawn at once. */
export function Sight({ children, isSteady = false }: Props) {
  const [isSeen, setSeen] = useState(true)
  const watched = useRef<Element | null>(null)
  const drawn = useRef({ children, at: performance.now() })
  const setBox = useCallback((box: Element | null) => {
    if (box === watched.current) return
    if (watched.current) observer.unobserve(watched.current)
    watched.current = box
    if (!box) return
    tellers.set(box, setSeen)
    observer.observe(box)
  }, [])
  useEffect(() => () => setBox(null), [])
  // The very same child as before is not even compared.
  const now = performance.now()
  if (isSeen || (!isSteady && now - drawn.current.at > AWAY_MS)) drawn.current = { children, at: now }
  return <Box.Provider value={setBox}>{drawn.current.children}</Box.Provider>
}

const tellers = new WeakMap<Element, (isSeen: boolean) => void>()

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) tellers.get(target)?.(isIntersecting)
})
