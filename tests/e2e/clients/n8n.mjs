// Does what n8n's nodes "OpenAI Chat Model" and "Embeddings OpenAI" do with their credential:
// `node n8n.mjs CREDENTIALS` prints a line of JSON for each API that the node can use.
import { readFileSync } from "node:fs";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";

const [{ data: credential }] = JSON.parse(readFileSync(process.argv[2], "utf8"));
const configuration = { baseURL: credential.url };

// The node's list of models.
const headers = { Authorization: `Bearer ${credential.apiKey}` };
const listed = await (await fetch(`${credential.url}/models`, { headers })).json();
const model = listed.data.map((entry) => entry.id).sort()[0];

const weather = tool(async ({ city }) => `12 degrees and rain in ${city}`, {
  name: "get_weather",
  description: "Tell the weather in a city.",
  schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
});

for (const responsesApiEnabled of [true, false]) {
  const chat = new ChatOpenAI({
    apiKey: credential.apiKey,
    model,
    temperature: 0,
    maxRetries: 0,
    configuration,
    modelKwargs: {},
    supportsStrictToolCalling: false,
    ...(responsesApiEnabled ? { useResponsesApi: true } : {}),
  });
  const whole = await chat.invoke("What is the capital of France?");
  let streamed = "";
  for await (const chunk of await chat.stream("What is the capital of France?")) streamed += chunk.text;
  const armed = chat.bindTools([weather]);
  const question = new HumanMessage("What is the weather in Oslo?");
  const call = await armed.invoke([question]);
  const results = await Promise.all(
    call.tool_calls.map(
      async (one) => new ToolMessage({ tool_call_id: one.id, content: await weather.invoke(one.args) }),
    ),
  );
  const last = await armed.invoke([question, call, ...results]);
  const result = {
    responsesApiEnabled,
    model,
    whole: whole.text,
    streamed,
    calls: call.tool_calls.map((one) => one.args),
    last: last.text,
  };
  console.log(JSON.stringify(result));
}
const embeddings = new OpenAIEmbeddings({ apiKey: credential.apiKey, model, configuration });
const vectors = await embeddings.embedDocuments(["one", "two"]);
console.log(JSON.stringify({ sizes: vectors.map((one) => one.length) }));
