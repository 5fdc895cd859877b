// Drives Vercel's AI SDK: `node ai_sdk.mjs URL` prints a line of JSON for each kind of model.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, embedMany, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const at = { baseURL: `${process.argv[2]}/v1`, apiKey: "none" };
const compatible = createOpenAICompatible({
  name: "llamapack",
  includeUsage: true,
  supportsStructuredOutputs: true,
  ...at,
});
const openai = createOpenAI(at);
const models = { compatible: compatible("any"), responses: openai("any"), chat: openai.chat("any") };

const object = (properties) =>
  jsonSchema({
    type: "object",
    properties,
    required: Object.keys(properties),
    additionalProperties: false,
  });
const tools = {
  get_weather: tool({
    description: "Tell the weather in a city.",
    inputSchema: object({ city: { type: "string" } }),
    execute: async ({ city }) => `12 degrees and rain in ${city}`,
  }),
};
const QUESTION = "What is the capital of France?";
const WEATHER = "What is the weather in Oslo?";

for (const [name, model] of Object.entries(models)) {
  const ask = { model, temperature: 0 };
  const whole = await generateText({ ...ask, prompt: QUESTION });
  const stream = streamText({ ...ask, prompt: QUESTION });
  let streamed = "";
  for await (const piece of stream.textStream) streamed += piece;
  const called = await generateText({ ...ask, prompt: WEATHER, tools, stopWhen: stepCountIs(3) });
  const steps = streamText({ ...ask, prompt: WEATHER, tools, stopWhen: stepCountIs(3) });
  const toolChoice = { type: "tool", toolName: "get_weather" };
  const forced = await generateText({ ...ask, prompt: WEATHER, tools, toolChoice });
  const person = object({ name: { type: "string" }, age: { type: "integer" } });
  const typed = await generateText({
    ...ask,
    prompt: "Ana is 31 years old and lives in Oslo.",
    output: Output.object({ schema: person }),
  });
  const result = {
    name,
    whole: whole.text,
    streamed,
    finish: await stream.finishReason,
    usage: (await stream.usage).totalTokens,
    called: called.text,
    calls: called.steps.flatMap((step) => step.toolCalls.map((call) => call.input)),
    steps: await steps.text,
    forced: forced.toolCalls.map((call) => call.input),
    typed: typed.output,
  };
  console.log(JSON.stringify(result));
}
const { embeddings } = await embedMany({
  model: compatible.textEmbeddingModel("any"),
  values: ["one", "two"],
});
console.log(JSON.stringify({ name: "embeddings", sizes: embeddings.map((one) => one.length) }));
