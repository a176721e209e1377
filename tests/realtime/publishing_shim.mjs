// Stands on port 8000 for the SDK's own test-suite, where it looks for a Centrifugo: publishes through Kafka, and passes
// WebSockets on to the edge byte by byte.
//
// A publication there is in the channel's history when it is acknowledged. Here it takes a way through Kafka, so the answer
// waits for a witness: a client of the edge that is subscribed to the channel and has seen the event.

import { once } from 'node:events';
import http from 'node:http';

import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

import { Inbox } from './client.mjs';
import { Producer, url } from './platform.mjs';
import { passUpgrades } from './upgrades.mjs';

const KEY = 'test-api-key';
const PORT = 8000;
const BODY_BYTES_MAX = 64 * 1024;

const producer = new Producer();
const witness = new Centrifuge(url, { websocket: WebSocket });
const seen = new Map();
witness.connect();

/** What the witness has seen of a channel; subscribed from before the first publication on. */
async function watch(channel) {
  if (!seen.has(channel)) {
    const subscription = witness.newSubscription(channel);
    seen.set(channel, new Inbox(subscription));
    subscription.subscribe();
  }
  await witness.getSubscription(channel).ready();
  return seen.get(channel);
}

async function publish({ channel, data }) {
  const [family, ...rest] = channel.split(':');
  const inbox = await watch(channel);
  const before = inbox.publications.length;
  await producer.send({ topic: `sdk-${family}`, key: rest.join(':'), value: data });
  const text = JSON.stringify(data);
  await inbox.first((publication) => {
    return inbox.publications.indexOf(publication) >= before && JSON.stringify(publication.data) === text;
  });
}

const server = http.createServer(async (request, response) => {
  const answer = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  if (request.method !== 'POST' || request.url !== '/api/publish') return answer(404, { error: 'only POST /api/publish' });
  if (request.headers['x-api-key'] !== KEY) return answer(401, { error: 'no good X-API-Key' });
  try {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) {
      text += chunk;
      if (text.length > BODY_BYTES_MAX) return answer(413, { error: 'too much' });
    }
    await publish(JSON.parse(text));
    answer(200, { result: {} });
  } catch (error) {
    answer(500, { error: error.message });
  }
});

passUpgrades(server, url);
server.listen(PORT, '127.0.0.1');
await once(server, 'listening');
console.log(`the shim listens on 127.0.0.1:${PORT}`);
