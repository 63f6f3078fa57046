// Makes the calls that standard input asks for with the openai package and prints a line of JSON for each: what came,
// or the class and the members of what was thrown. The package's types and methods are what is tested: nothing here
// looks at bytes.
//
// usage: client.mjs URL < {"calls":[{"name","method","body","options","take","abort"},..]}
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';

const methods = {
  completions: (client, body) => client.completions.create(body),
  chat: (client, body) => client.chat.completions.create(body),
  models: (client) => client.models.list(),
  missing: (client, body) => client.embeddings.create(body),
  // Puts a stream together again, by the package's own rules.
  runner: (client, body) => client.chat.completions.stream(body).finalChatCompletion(),
};

// All events of a stream, or those until the client has had enough.
async function readAll(stream, enough) {
  const events = [];
  for await (const event of stream) {
    events.push(event);
    if (events.length === enough) stream.controller.abort();
  }
  return events;
}

async function call({ method, body, options, enough }) {
  const client = new OpenAI({ baseURL: process.argv[2], maxRetries: 0, ...options });
  const found = await methods[method](client, body);
  return body?.stream ? readAll(found, enough) : found;
}

for (const one of JSON.parse(readFileSync(0, 'utf8')).calls) {
  let line;
  try {
    line = { name: one.name, value: await call(one) };
  } catch (thrown) {
    const { status, code, param, type, message } = thrown;
    line = { name: one.name, thrown: { class: thrown.constructor.name, status, code, param, type, message } };
  }
  process.stdout.write(JSON.stringify(line) + '\n');
}
