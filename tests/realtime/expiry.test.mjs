// Tokens that expire on live connections: refreshed in time they change nothing, else the connection or subscription ends.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Bare, breaks, client, heard, subscribe } from './client.mjs';
import { fresh, patiently, produce, token } from './platform.mjs';

const range = (first, last) => Array.from({ length: last - first + 1 }, (_, at) => first + at);

/** A getToken, and a promise that it was called this often. */
function counted(calls, make) {
  let count = 0;
  let resolve;
  const reached = new Promise((given) => (resolve = given));
  const getToken = async () => {
    count += 1;
    if (count === calls) resolve();
    return make();
  };
  return { getToken, reached: patiently(reached, () => `call ${calls} of getToken; ${count} came`) };
}

test('a refreshed token keeps the connection, and no event is lost or doubled meanwhile', async (story) => {
  const name = fresh('refresh');
  const { getToken, reached } = counted(4, () => token({ seconds: 2 }));
  const alice = client(story, { getToken });
  const { client: id } = await heard(alice, 'connected');
  const lost = breaks(alice, 'connecting');
  const { inbox } = await subscribe(alice, `story:${name}`);
  const produced = produce('stories', { key: name, count: 400, rate: 50 });
  await reached;
  await produced;
  await inbox.number(400);
  assert.deepEqual(inbox.numbers, range(1, 400));
  assert.deepEqual(lost, []);
  assert.equal(alice._client, id);
});

test('a connection whose token is not refreshed is closed', async (story) => {
  const bare = await Bare.open(story);
  const { connect } = await bare.call({ connect: { token: token({ seconds: 1.5 }) } });
  assert.equal(connect.expires, true);
  assert.ok(connect.ttl >= 1 && connect.ttl <= 2, `ttl ${connect.ttl}`);
  assert.equal((await bare.end()).code, 3005);
});

test('after its token expired a connection gets no events', async (story) => {
  const name = fresh('late');
  const bare = await Bare.open(story);
  await bare.call({ connect: { token: token({ seconds: 1.5 }) } });
  await bare.call({ subscribe: { channel: `story:${name}` } });
  const witness = await subscribe(client(story), `story:${name}`);
  // 300 events in 3 s: before, around and after the moment; the connection ends some time after it.
  await produce('stories', { key: name, count: 300, rate: 100 });
  await witness.inbox.number(300);
  await bare.end();
  const numbers = bare.replies.filter(({ push }) => push?.pub).map(({ push }) => push.pub.data.n);
  assert.ok(numbers.length > 0, 'events come while the token is good');
  assert.ok(numbers.at(-1) < 300, 'none come once it is not');
  assert.deepEqual(numbers, range(1, numbers.length));
});

test("a refresh with another user's token closes the connection for good", async (story) => {
  const bare = await Bare.open(story);
  await bare.call({ connect: { token: token({ sub: 'alice' }) } });
  const ended = bare.end();
  bare.call({ refresh: { token: token({ sub: 'bob' }) } }).catch(() => {});
  const { code } = await ended;
  assert.ok(code >= 3500 && code < 4000, `closed with ${code}`);
});

test('a refresh with a forged token closes the connection for good', async (story) => {
  const bare = await Bare.open(story);
  await bare.call({ connect: { token: token() } });
  const ended = bare.end();
  bare.call({ refresh: { token: token({ signedWith: 'a-secret-that-the-issuer-does-not-have' }) } }).catch(() => {});
  const { code } = await ended;
  assert.ok(code >= 3500 && code < 4000, `closed with ${code}`);
});

test('a subscription with a token of its own is refreshed, and nothing is lost or doubled', async (story) => {
  const name = fresh('sealed');
  const channel = `sealed:${name}`;
  const { getToken, reached } = counted(3, () => token({ seconds: 2, channel }));
  const { inbox, subscription } = await subscribe(client(story), channel, { getToken });
  const lost = breaks(subscription, 'subscribing');
  const produced = produce('sealed', { key: name, count: 300, rate: 50 });
  await reached;
  await produced;
  await inbox.number(300);
  assert.deepEqual(inbox.numbers, range(1, 300));
  assert.deepEqual(lost, []);
});

test('a subscription token is for one channel and one user', async (story) => {
  const channel = `sealed:${fresh('mine')}`;
  const bare = await Bare.open(story);
  await bare.call({ connect: { token: token({ sub: 'bob' }) } });
  const attempts = [
    undefined,
    token({ sub: 'bob' }),
    token({ sub: 'bob', channel: 'sealed:another' }),
    token({ sub: 'alice', channel }),
    token({ sub: 'bob', channel, signedWith: 'a-secret-that-the-issuer-does-not-have' }),
  ];
  for (const [at, attempt] of attempts.entries()) {
    const reply = await bare.call({ subscribe: { channel, token: attempt } });
    assert.equal(reply.error?.code, 103, `attempt ${at}: ${JSON.stringify(reply)}`);
  }
  assert.ok((await bare.call({ subscribe: { channel, token: token({ sub: 'bob', channel }) } })).subscribe);
});

test('an expired subscription token is told apart, so that the SDK fetches another one', async (story) => {
  const channel = `sealed:${fresh('expired')}`;
  const tokens = [token({ channel, seconds: -5 }), token({ channel })];
  await subscribe(client(story), channel, { getToken: async () => tokens.shift() });
  assert.deepEqual(tokens, []);
});

test('a subscription whose token is not refreshed ends; the connection stays', async (story) => {
  const channel = `sealed:${fresh('ends')}`;
  const bare = await Bare.open(story);
  await bare.call({ connect: { token: token() } });
  const ended = bare.next(({ push }) => push?.unsubscribe, 'the end of the subscription');
  const { subscribe: first } = await bare.call({ subscribe: { channel, token: token({ channel, seconds: 1.5 }) } });
  assert.equal(first.expires, true);
  const { push } = await ended;
  assert.equal(push.channel, channel);
  assert.equal(push.unsubscribe.code, 2501);
  assert.ok((await bare.call({ subscribe: { channel: 'story:still-there' } })).subscribe);
});
