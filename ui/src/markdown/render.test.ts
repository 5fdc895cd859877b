import { describe, expect, it } from 'vitest'
import { renderMarkdown } from './render'

describe('Markdown', () => {
  it.each([
    ['**a** and `b`', '<p><strong>a</strong> and <code>b</code></p>'],
    ['| a |\n|---|\n| 1 |', '<table>'],
    ['~~a~~', '<s>a</s>'],
    ['https://example.com/a', '<a href="https://example.com/a">'],
    ['```js\nlet a = "<b>"\n```', 'data-language="js">let a = &quot;&lt;b&gt;&quot;</code>'],
    ['$a < b$', '<span class="formula" data-tex="a &lt; b">'],
    ['\\(a_1\\) and \\(a_2\\)', '<span class="formula" data-tex="a_2">'],
    ['$$\n\\frac{1}{2}\n$$', '<span class="formula formula-block" data-tex="\\frac{1}{2}">'],
    ['\\[ x \\]', 'formula-block" data-tex="x"'],
  ])('%j', (source, html) => {
    expect(renderMarkdown(source)).toContain(html)
  })

  it.each(['It costs $5 and $6.', 'from $10 to $20', 'a $ b $ c', 'US$ alone', '\\$a\\$'])('leaves money alone: %s', (source) => {
    expect(renderMarkdown(source)).not.toContain('formula')
  })

  it.each([
    ['<script>alert(1)</script>', '<script'],
    ['<img src=x onerror=alert(1)>', '<img'],
    ['[a](javascript:alert(1))', 'href="javascript'],
    ['![a](https://evil.example/x.png)', '<img'],
    ['```"><img src=x onerror=alert(1)>\n```', '<img'],
    ['$<img src=x onerror=alert(1)>$', '<img'],
    ['[a](data:text/html;base64,PHNjcmlwdD4=)', 'href="data'],
    ['$a" onmouseover="alert(1)$', '" onmouseover'],
  ])('%s gives no %s', (source, html) => {
    expect(renderMarkdown(source)).not.toContain(html)
  })
})
