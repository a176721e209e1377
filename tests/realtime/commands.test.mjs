// What clients may ask for: publish, rpc, history, presence.

import assert from 'node:assert/strict';
import test from 'node:test';

import { client, heard, subscribe } from './client.mjs';
import { consume, fresh, produce, Producer } from './platform.mjs';

const failure = (promise) => promise.then(() => assert.fail('it was not refused'), (error) => error);

test('a publication is a record in Kafka when it is acknowledged, and comes back to all', async (story) => {
  const room = fresh('room');
  const [alice, bob] = ['alice', 'bob'].map((user) => client(story, { user }));
  const [hers, his] = await Promise.all([alice, bob].map((one) => subscribe(one, `room:${room}`)));
  await hers.subscription.publish({ text: 'hello', n: 1 });
  const records = (await consume('rooms')).filter(({ key }) => key === room);
  assert.deepEqual(records.map(({ payload }) => JSON.parse(payload)), [{ text: 'hello', n: 1 }]);
  const [first, second] = await Promise.all([hers.inbox.number(1), his.inbox.number(1)]);
  assert.deepEqual(first.data, { text: 'hello', n: 1 });
  assert.deepEqual(second.data, { text: 'hello', n: 1 });
});

test('publishing is refused where nobody may, and where the condition does not hold', async (story) => {
  const [alice, room] = [client(story), fresh('room')];
  await heard(alice, 'connected');
  assert.ok([103, 108].includes((await failure(alice.publish(`story:${room}`, { text: 'x' }))).code));
  assert.equal((await failure(alice.publish(`room:${room}`, { words: 'x' }))).code, 103);
  assert.deepEqual((await consume('rooms')).filter(({ key }) => key === room), []);
});

test('a remote procedure is a record, its answer the place of the record', async (story) => {
  const user = fresh('caller');
  const alice = client(story, { user });
  const { data } = await alice.rpc('submit', { batch: '7' });
  const records = (await consume('commands')).filter(({ key }) => key === user);
  assert.deepEqual(records.map(({ payload, partition, offset }) => ({ value: JSON.parse(payload), partition, offset })), [
    { value: { batch: '7' }, partition: data.partition, offset: data.offset },
  ]);
});

test('an unknown procedure and forbidden arguments are refused', async (story) => {
  const alice = client(story);
  assert.ok([104, 108].includes((await failure(alice.rpc('nothing', {}))).code));
  assert.equal((await failure(alice.rpc('submit', { wrong: 1 }))).code, 103);
});

test('history gives what was sent before, from either end, from a position', async (story) => {
  const name = fresh('history');
  const { subscription, inbox } = await subscribe(client(story), `story:${name}`);
  await produce('stories', { key: name, count: 10 });
  await inbox.number(10);
  const numbers = ({ publications }) => publications.map(({ data }) => data.n);
  const all = await subscription.history({ limit: 100 });
  assert.deepEqual(numbers(all), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.deepEqual(numbers(await subscription.history({ limit: 3 })), [1, 2, 3]);
  assert.deepEqual(numbers(await subscription.history({ limit: 3, reverse: true })), [10, 9, 8]);
  const position = await subscription.history();
  assert.deepEqual(position.publications, []);
  assert.equal(position.offset, all.offset);
  assert.equal(position.epoch, all.epoch);
  await produce('stories', { key: name, first: 11, count: 2 });
  await inbox.number(12);
  const since = { offset: position.offset, epoch: position.epoch };
  assert.deepEqual(numbers(await subscription.history({ limit: 100, since })), [11, 12]);
});

test('history shows nobody what is not theirs', async (story) => {
  const batch = fresh('history');
  const producer = new Producer();
  story.after(() => producer.stop());
  const [alice, bob] = ['alice', 'bob'].map((user) => client(story, { user }));
  const [hers, his] = await Promise.all([alice, bob].map((one) => subscribe(one, `batch:${batch}`)));
  for (const [n, owner] of [[1, 'alice'], [2, 'bob'], [3, 'alice'], [4, 'bob']]) {
    await producer.send({ topic: 'batches', key: batch, value: { batch, owner, n } });
  }
  await Promise.all([hers.inbox.number(3), his.inbox.number(4)]);
  const { publications } = await his.subscription.history({ limit: 100 });
  assert.deepEqual(publications.map(({ data }) => data.n), [2, 4]);
});

test('subscribers of a room see who is there, who comes and who goes', async (story) => {
  const channel = `room:${fresh('presence')}`;
  const [alice, bob] = ['alice', 'bob'].map((user) => client(story, { user }));
  const { subscription } = await subscribe(alice, channel, { joinLeave: true });
  const joined = heard(subscription, 'join', ({ info }) => info.user === 'bob');
  const his = await subscribe(bob, channel);
  await joined;
  const { clients } = await subscription.presence();
  assert.deepEqual(Object.values(clients).map(({ user }) => user).sort(), ['alice', 'bob']);
  assert.deepEqual(await subscription.presenceStats(), { numClients: 2, numUsers: 2 });
  const left = heard(subscription, 'leave', ({ info }) => info.user === 'bob');
  his.subscription.unsubscribe();
  await left;
  assert.deepEqual(await subscription.presenceStats(), { numClients: 1, numUsers: 1 });
});

test('presence is refused where the family does not offer it', async (story) => {
  const { subscription } = await subscribe(client(story), `story:${fresh('presence')}`);
  assert.ok([103, 108].includes((await failure(subscription.presence())).code));
});
