// A bar of parts.

interface Part {
  readonly kind: string
  readonly amount: number
}

/** Parts of a whole, side by side. Screen readers read the label. */
export function Bar({ parts, whole, label }: { parts: readonly Part[]; whole: number; label: string }) {
  return (
    <div class="room-bar" role="img" aria-label={label}>
      {parts.map(({ kind, amount }) => (
        <span key={kind} class={`fill-${kind}`} style={{ width: `${share(amount, whole)}%` }} />
      ))}
    </div>
  )
}

function share(amount: number, whole: number): number {
  return whole > 0 ? Math.min((100 * amount) / whole, 100) : 0
}
