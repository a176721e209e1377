// What arrives, and for whom: order, owners, tags, wildcards, server-side subscriptions, records that nobody may see.

import assert from 'node:assert/strict';
import test from 'node:test';

import { client, heard, Inbox, refusal, subscribe } from './client.mjs';
import { consume, eventually, fresh, produce, Producer } from './platform.mjs';

const range = (first, last) => Array.from({ length: last - first + 1 }, (_, at) => first + at);

test('events of an independent producer arrive in order', async (story) => {
  const batch = fresh('order');
  const { inbox } = await subscribe(client(story), `batch:${batch}`);
  await produce('batches', { key: batch, count: 200, data: `{"batch":"${batch}","owner":"alice","n":%n}` });
  await inbox.number(200);
  assert.deepEqual(inbox.numbers, range(1, 200));
});

test('data passes as it is, and tags come along', async (story) => {
  const batch = fresh('data');
  const value = { batch, owner: 'alice', n: 1, text: 'žluťoučký "kůň" \n 🐎', big: 1.5e300, deep: [[{ a: null }]] };
  const producer = new Producer();
  story.after(() => producer.stop());
  const { inbox } = await subscribe(client(story), `batch:${batch}`);
  await producer.send({ topic: 'batches', key: batch, headers: { ce_type: 'graded', level: 'B2' }, value });
  const publication = await inbox.number(1);
  assert.deepEqual(publication.data, value);
  assert.deepEqual(publication.tags, { type: 'graded', level: 'B2' });
});

test('of one channel everybody sees only what is theirs', async (story) => {
  const batch = fresh('owners');
  const producer = new Producer();
  story.after(() => producer.stop());
  const [alice, bob] = ['alice', 'bob'].map((user) => client(story, { user }));
  const [hers, his] = await Promise.all([alice, bob].map((one) => subscribe(one, `batch:${batch}`)));
  for (let n = 1; n <= 20; n += 1) {
    await producer.send({ topic: 'batches', key: batch, value: { batch, owner: n % 2 ? 'alice' : 'bob', n } });
  }
  // Nobody's: no owner at all, an owner of another type, the name as part of another.
  await producer.send({ topic: 'batches', key: batch, value: { batch, n: 21 } });
  await producer.send({ topic: 'batches', key: batch, value: { batch, owner: ['alice', 'bob'], n: 22 } });
  await producer.send({ topic: 'batches', key: batch, value: { batch, owner: 'alice2', n: 23 } });
  for (const [owner, n] of [['alice', 24], ['bob', 25]]) {
    await producer.send({ topic: 'batches', key: batch, value: { batch, owner, n } });
  }
  await Promise.all([hers.inbox.number(24), his.inbox.number(25)]);
  assert.deepEqual(hers.inbox.numbers, [...range(1, 20).filter((n) => n % 2), 24]);
  assert.deepEqual(his.inbox.numbers, [...range(1, 20).filter((n) => n % 2 === 0), 25]);
});

test('a filter on tags narrows what is visible and widens nothing', async (story) => {
  const batch = fresh('tags');
  const producer = new Producer();
  story.after(() => producer.stop());
  const graded = { key: 'type', cmp: 'eq', val: 'graded' };
  const filtered = await subscribe(client(story), `batch:${batch}`, { tagsFilter: graded });
  const either = await subscribe(client(story), `batch:${batch}`, {
    tagsFilter: { op: 'or', nodes: [graded, { key: 'level', cmp: 'in', vals: ['B1', 'B2'] }] },
  });
  const bobs = await subscribe(client(story, { user: 'bob' }), `batch:${batch}`, { tagsFilter: graded });
  const send = (n, owner, headers) => producer.send({ topic: 'batches', key: batch, headers, value: { batch, owner, n } });
  await send(1, 'alice', { ce_type: 'graded' });
  await send(2, 'alice', { ce_type: 'uploaded' });
  await send(3, 'alice', { ce_type: 'uploaded', level: 'B2' });
  await send(4, 'alice', {});
  await send(5, 'alice', { ce_type: 'graded' });
  await send(6, 'bob', { ce_type: 'graded' });
  await Promise.all([filtered.inbox.number(5), either.inbox.number(5), bobs.inbox.number(6)]);
  assert.deepEqual(filtered.inbox.numbers, [1, 5]);
  assert.deepEqual(either.inbox.numbers, [1, 3, 5]);
  assert.deepEqual(bobs.inbox.numbers, [6]);
});

test('a wildcard gets the events of all channels below it, of those that are visible', async (story) => {
  const prefix = fresh('wild');
  const producer = new Producer();
  story.after(() => producer.stop());
  const alice = client(story);
  const all = await subscribe(alice, 'batch:*');
  const some = await subscribe(alice, `batch:${prefix}-a*`);
  const own = ({ data }) => data.batch.startsWith(prefix);
  const send = (n, name, owner) => {
    const batch = `${prefix}-${name}`;
    // One key, so one partition and one order.
    return producer.send({ topic: 'batches', key: prefix, value: { batch, owner, n } });
  };
  await send(1, 'a1', 'alice');
  await send(2, 'a2', 'bob');
  await send(3, 'b1', 'alice');
  await send(4, 'a3', 'alice');
  await Promise.all([
    all.inbox.first((publication) => own(publication) && publication.data.n === 4),
    some.inbox.number(4),
  ]);
  assert.deepEqual(all.inbox.publications.filter(own).map(({ data }) => data.n), [1, 3, 4]);
  assert.deepEqual(some.inbox.numbers, [1, 4]);
});

test('a wildcard is refused where the family does not allow it', async (story) => {
  const { code } = await refusal(client(story), 'story:*');
  assert.ok([102, 103, 107].includes(code), `refused with ${code}`);
});

test('a family that nobody declared is unknown', async (story) => {
  assert.equal((await refusal(client(story), 'nothing:1')).code, 102);
});

test("somebody else's channel is refused", async (story) => {
  assert.equal((await refusal(client(story, { user: 'bob' }), 'user:alice')).code, 103);
});

test('the server subscribes a client to its own channel, and to those its token lists', async (story) => {
  const [user, extra] = [fresh('joined'), fresh('extra')];
  const producer = new Producer();
  story.after(() => producer.stop());
  const one = client(story, { user, claims: { channels: [`story:${extra}`] } });
  const subscribed = [`user:${user}`, `story:${extra}`].map((name) => heard(one, 'subscribed', ({ channel }) => channel === name));
  const inbox = new Inbox(one);
  await Promise.all(subscribed);
  await producer.send({ topic: 'notes', key: 'somebody-else', value: { to: 'somebody-else', n: 1 } });
  await producer.send({ topic: 'notes', key: user, value: { to: user, n: 2 } });
  await inbox.number(2);
  await producer.send({ topic: 'stories', key: extra, value: { n: 3 } });
  await inbox.number(3);
  assert.deepEqual(inbox.publications.map(({ channel, data }) => [channel, data.n]), [
    [`user:${user}`, 2],
    [`story:${extra}`, 3],
  ]);
});

test('aborted transactions are never shown', async (story) => {
  const name = fresh('transactions');
  const { inbox } = await subscribe(client(story), `story:${name}`);
  const data = '{"n":%n}';
  await produce('stories', { key: name, data, count: 20, transaction: 'abort' });
  await produce('stories', { key: name, data, first: 21, count: 40, transaction: 'mixed', every: 10 });
  await produce('stories', { key: name, data, first: 61 });
  await inbox.number(61);
  assert.deepEqual(inbox.numbers, [...range(21, 30), ...range(41, 50), 61]);
});

test('a poison record blocks nothing and goes to the dead letters', async (story) => {
  const batch = fresh('poison');
  const producer = new Producer();
  story.after(() => producer.stop());
  const { inbox } = await subscribe(client(story), `batch:${batch}`);
  const send = (value) => producer.send({ topic: 'batches', key: batch, value });
  const poison = [await send(`${batch} is no JSON`), await send('{"owner":"alice","n":1}')];
  // A tombstone says that a key is gone: no event, and no fault either.
  await send(null);
  await send({ batch, owner: 'alice', n: 2 });
  await inbox.number(2);
  assert.deepEqual(inbox.numbers, [2]);

  const dead = await eventually(async () => {
    const found = (await consume('batches-dead')).filter(({ key }) => key === batch);
    assert.equal(found.length, poison.length);
    return found;
  });
  assert.deepEqual(dead.map(({ payload }) => payload), [`${batch} is no JSON`, '{"owner":"alice","n":1}']);
  // Where they came from is in the headers, under whatever names.
  for (const [at, { headers }] of dead.entries()) {
    const told = Object.values(headers);
    assert.ok(told.includes('batches'), JSON.stringify(headers));
    assert.ok(told.includes(String(poison[at].partition)), JSON.stringify(headers));
    assert.ok(told.includes(String(poison[at].offset)), JSON.stringify(headers));
  }
});
