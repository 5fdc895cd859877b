#!/bin/sh
# Ask with nothing but curl: is the server ready, a chat, a streamed completion, a constrained one.
set -eu
url="${LLAMAPACK_URL:-http://127.0.0.1:8080}"

ask() { # path, JSON body
  curl -sS --fail-with-body --no-buffer "$url$1" -H "Content-Type: application/json" \
    -H "Authorization: Bearer ${LLAMAPACK_API_KEY:-none}" -d "$2"
  echo
}

echo "== ready?"
curl -sS "$url/health"
echo
echo "== a chat, as with OpenAI"
ask /v1/chat/completions '{
  "messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}'
echo "== a streamed chat"
ask /v1/chat/completions '{
  "messages": [{"role": "user", "content": "Tell me a short story."}], "max_tokens": 8, "stream": true}'
echo "== a completion as with llama-server, held to yes or no by a grammar"
ask /completion '{
  "prompt": "Is Paris in France? ", "grammar": "root ::= \"yes\" | \"no\"", "temperature": 0,
  "n_predict": 8, "response_fields": ["content", "tokens_predicted"]}'
