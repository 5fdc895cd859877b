// The icons: strokes on a grid of 24, drawn for this page.

const PATHS = {
  chat: 'M5 5h14a1.5 1.5 0 0 1 1.5 1.5v8A1.5 1.5 0 0 1 19 16h-7.5L7 19.5V16H5a1.5 1.5 0 0 1-1.5-1.5v-8A1.5 1.5 0 0 1 5 5Z',
  room: 'M4 6h9M4 12h16M4 18h6M17 6h3M14 18h6',
  models: 'M12 3.5 20 8v8l-8 4.5L4 16V8l8-4.5ZM4 8l8 4.5L20 8M12 12.5v8',
  settings: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.8v4.4M9 14.8v4.4',
  plus: 'M12 5v14M5 12h14',
  send: 'M12 19V5.5M6 11l6-6 6 6',
  stop: 'M7 7h10v10H7z',
  copy: 'M9 9h10v11H9zM6 15H5V4h10v1.5',
  check: 'm5 12.5 4.5 4.5L19 7.5',
  edit: 'M5 19h3.5L19 8.5 15.5 5 5 15.5V19ZM13 7.5l3.5 3.5',
  retry: 'M19 12a7 7 0 1 1-2.2-5.1M19.5 4v4h-4',
  forward: 'M5 12h13M13 6.5l5.5 5.5-5.5 5.5',
  code: 'm8.5 7-5 5 5 5M15.5 7l5 5-5 5',
  left: 'm14.5 6-6 6 6 6',
  right: 'm9.5 6 6 6-6 6',
  down: 'm6 9.5 6 6 6-6',
  close: 'm6 6 12 12M18 6 6 18',
  search: 'M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13ZM15.5 15.5 20 20',
  more: 'M6 12h.01M12 12h.01M18 12h.01',
  trash: 'M5 7h14M9.5 7V4.5h5V7M7 7l.8 12.5h8.4L17 7M10.5 10.5v5.5M13.5 10.5v5.5',
  columns: 'M4.5 5h6v14h-6zM13.5 5h6v14h-6z',
  sliders: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.8v4.4M9 14.8v4.4',
  panel: 'M4 5h16v14H4zM9.5 5v14',
  file: 'M7 3.5h7l4 4V20.5H7zM14 3.5V8h4',
  image: 'M4.5 5h15v14h-15zM4.5 16l4.5-4.5 4 4 2.5-2.5 4 4M15 9.5h.01',
  audio: 'M5 10v4M9 7v10M13 4.5v15M17 8v8M21 10.5v3',
  download: 'M12 4v11M7 10.5l5 5 5-5M5 20h14',
  upload: 'M12 15.5V4.5M7 9l5-5 5 5M5 20h14',
  tool: 'M14.5 6.5a4 4 0 0 0-5 5L4.5 16.5l3 3 5-5a4 4 0 0 0 5-5L15 12l-3-3 2.5-2.5Z',
  thought: 'M12 4a6 6 0 0 0-3.5 10.9V17h7v-2.1A6 6 0 0 0 12 4ZM9.5 20h5',
  braces: 'M9 4.5c-2 0-2.5 1-2.5 2.5v2.5c0 1.5-.7 2.5-2 2.5 1.3 0 2 1 2 2.5V17c0 1.5.5 2.5 2.5 2.5M15 4.5c2 0 2.5 1 2.5 2.5v2.5c0 1.5.7 2.5 2 2.5-1.3 0-2 1-2 2.5V17c0 1.5-.5 2.5-2.5 2.5',
  keyboard: 'M3.5 6.5h17v11h-17zM7 10h.01M10.3 10h.01M13.7 10h.01M17 10h.01M8.5 14h7',
  warning: 'M12 4 21 19.5H3L12 4ZM12 10v4.5M12 17h.01',
  external: 'M13 5h6v6M19 5l-8.5 8.5M16 14v5H5V8h5',
} as const

export type IconName = keyof typeof PATHS | 'mark'

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  if (name === 'mark') return <Mark size={size} />
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  )
}

function Mark({ size }: { size: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect class="mark-field" width="32" height="32" rx="8" />
      <g class="mark-bars">
        <rect x="7" y="8" width="5" height="16" rx="1.5" />
        <rect x="13.5" y="8" width="11.5" height="4.5" rx="1.5" opacity=".55" />
        <rect x="13.5" y="13.75" width="8" height="4.5" rx="1.5" opacity=".75" />
        <rect x="13.5" y="19.5" width="11.5" height="4.5" rx="1.5" />
      </g>
    </svg>
  )
}
