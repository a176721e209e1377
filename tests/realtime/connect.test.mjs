// Who gets in: tokens in the first message, and what becomes of clients without a good one.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Bare, client, heard } from './client.mjs';
import { token } from './platform.mjs';

const isFinal = (code) => code >= 3500 && code < 4000;

test('a token from getToken opens the connection', async (story) => {
  let asked = 0;
  const alice = client(story, { getToken: async () => (asked++, token()) });
  const { client: id, transport } = await heard(alice, 'connected');
  assert.ok(id.length > 0);
  assert.equal(transport, 'websocket');
  assert.equal(asked, 1);
});

test('two connections have two ids', async (story) => {
  const ids = await Promise.all([1, 2].map(() => heard(client(story), 'connected')));
  assert.notEqual(ids[0].client, ids[1].client);
});

test('a token of another signer is refused for good', async (story) => {
  const getToken = async () => token({ signedWith: 'a-secret-that-the-issuer-does-not-have' });
  const { code } = await heard(client(story, { getToken }), 'disconnected');
  assert.equal(code, 3500);
});

test('without a token nobody gets in', async (story) => {
  const { code } = await heard(client(story, { getToken: null }), 'disconnected');
  assert.ok(isFinal(code), `closed with ${code}`);
});

test('an expired token makes the SDK fetch another one', async (story) => {
  const tokens = [token({ seconds: -5 }), token()];
  const alice = client(story, { getToken: async () => tokens.shift() });
  await heard(alice, 'connected');
  assert.deepEqual(tokens, []);
});

test('a client that says nothing is closed', async (story) => {
  const bare = await Bare.open(story);
  assert.equal((await bare.end()).code, 3502);
});

test('another command before connect is a bad request', async (story) => {
  const bare = await Bare.open(story);
  bare.socket.send('{"id":1,"subscribe":{"channel":"story:1"}}');
  assert.equal((await bare.end()).code, 3501);
});

test('what is not JSON is a bad request', async (story) => {
  const bare = await Bare.open(story);
  bare.socket.send('connect please');
  assert.equal((await bare.end()).code, 3501);
});

test('connect and subscriptions in one message are answered in order', async (story) => {
  const bare = await Bare.open(story);
  const last = bare.next((reply) => reply.id === 3, 'the last reply');
  const commands = [
    { id: 1, connect: { token: token() } },
    { id: 2, subscribe: { channel: 'story:in-one-go' } },
    { id: 3, unsubscribe: { channel: 'story:in-one-go' } },
  ];
  bare.socket.send(commands.map((command) => JSON.stringify(command)).join('\n'));
  await last;
  const replies = bare.replies.filter(({ id }) => id);
  assert.deepEqual(replies.map(({ id }) => id), [1, 2, 3]);
  assert.deepEqual(replies.map((reply) => Object.keys(reply)[1]), ['connect', 'subscribe', 'unsubscribe']);
});

test('connecting and disconnecting at once, over and over, leaves a client that can connect', async (story) => {
  const alice = client(story);
  for (let round = 0; round < 20; round += 1) {
    alice.disconnect();
    alice.connect();
  }
  await alice.ready(10_000);
});
