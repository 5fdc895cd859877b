// Cuts long code into pieces that get their colours one at a time.

/** Code up to this length is one piece. */
export const MOST_WHOLE = 3000
/** About as long is a piece of longer code. */
export const PIECE = 1500

/**
 * The code in pieces. Each is coloured without the others, so a piece ends where a text or a comment hardly goes on:
 * before a line without an indent that follows an empty line, or else at an empty line, or at the end of a line.
 */
export function piecesOf(code: string): string[] {
  const pieces: string[] = []
  let rest = code
  while (rest.length > MOST_WHOLE) {
    const end = endOf(rest)
    pieces.push(rest.slice(0, end))
    rest = rest.slice(end)
  }
  return rest ? [...pieces, rest] : pieces
}

const ENDS = [/\n[ \t]*\n(?=[^\s)}\]])/g, /\n[ \t]*\n/g, /\n/g]

function endOf(code: string): number {
  const window = code.slice(0, MOST_WHOLE)
  for (const end of ENDS) {
    end.lastIndex = PIECE
    const found = end.exec(window)
    if (found) return found.index + found[0].length
  }
  return PIECE
}
