// The beginning of the page.
import './styles/tokens.css'
import './styles/base.css'
import './styles/parts.css'
import './styles/markdown.css'
import './styles/chat.css'
import { render } from 'preact'
import { App } from './app/App'

const root = document.getElementById('page')
if (root) render(<App />, root)
