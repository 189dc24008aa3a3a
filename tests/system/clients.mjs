// Asks a gateway with the official clients for JavaScript; prints what they made of it as one JSON
// document. The arguments: its URL, the key, and a URL with the key in it.
import { Ollama } from 'ollama'
import OpenAI from 'openai'

const [url, key, withKey] = process.argv.slice(2)
const messages = [{ role: 'user', content: 'hi' }]
const tool = { type: 'function', function: { name: 'weather', parameters: { type: 'object' } } }

async function failure(asked) {
  try {
    await asked
    return null
  } catch (error) {
    return { status: error.status ?? error.status_code, message: error.message }
  }
}

async function joined(stream, text) {
  let said = ''
  for await (const piece of stream) said += text(piece)
  return said
}

async function ofOllama(client) {
  const chat = (model, more) => client.chat({ model, messages, ...more })
  return {
    listed: (await client.list()).models.map((model) => model.name),
    shown: (await client.show({ model: 'alpha' })).capabilities,
    generated: (await client.generate({ model: 'alpha', prompt: 'hi' })).response,
    chat: (await chat('alpha')).message.content,
    streamed: await joined(await chat('alpha', { stream: true }), (piece) => piece.message.content),
    called: (await chat('caller', { tools: [tool] })).message.tool_calls[0].function.arguments,
    formed: JSON.parse((await chat('former', { format: { type: 'object' } })).message.content),
    thought: (await chat('thinker', { think: true })).message.thinking,
    vectors: (await client.embed({ model: 'emb', input: ['x', 'y'] })).embeddings.length,
    running: (await client.ps()).models.map((model) => model.name).includes('alpha:latest'),
    pulled: (await client.pull({ model: 'alpha' })).status,
    missing: await failure(client.chat({ model: 'nothing', messages })),
    deleted: await failure(client.delete({ model: 'alpha' })),
  }
}

async function ofOpenai(client) {
  const chat = (model, more) => client.chat.completions.create({ model, messages, ...more })
  const listed = []
  for await (const model of client.models.list()) listed.push(model.id)
  const response = await client.responses.create({ model: 'alpha', input: 'hi' })
  const called = await chat('caller', { tools: [tool] })
  return {
    listed,
    found: (await client.models.retrieve('org/space:Tag-1')).id,
    chat: (await chat('alpha')).choices[0].message.content,
    streamed: await joined(
      await chat('alpha', { stream: true }),
      (chunk) => chunk.choices[0]?.delta.content ?? '',
    ),
    called: JSON.parse(called.choices[0].message.tool_calls[0].function.arguments),
    vectors: (await client.embeddings.create({ model: 'emb', input: 'x' })).data[0].embedding.length,
    response: response.output_text,
    events: await joined(
      await client.responses.create({ model: 'alpha', input: 'hi', stream: true }),
      (event) => (event.type === 'response.output_text.delta' ? event.delta : ''),
    ),
    missing: await failure(chat('nothing')),
  }
}

const headers = { Authorization: `Bearer ${key}` }
const wrong = { Authorization: 'Bearer not-the-key' }
const results = {
  byHeader: await ofOllama(new Ollama({ host: url, headers })),
  byPath: await ofOllama(new Ollama({ host: withKey })),
  openai: await ofOpenai(new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 })),
  openaiByPath: await ofOpenai(
    new OpenAI({ baseURL: `${withKey}/v1`, apiKey: 'ollama', maxRetries: 0 }),
  ),
  wrongKey: await failure(new Ollama({ host: url, headers: wrong }).list()),
  wrongKeyOpenai: await failure(
    new OpenAI({ baseURL: `${url}/v1`, apiKey: 'not-the-key' }).models.list(),
  ),
}
console.log(JSON.stringify(results))
