// The broker goes away and comes back, topics change: clients hold on, and nothing is lost or doubled.
// These stories stop the broker, so they run alone.

import assert from 'node:assert/strict';
import test from 'node:test';

import { breaks, client, heard, subscribe } from './client.mjs';
import { broker, consume, eventually, fresh, produce, Producer, topic } from './platform.mjs';

const ascending = (numbers) => [...numbers].sort((a, b) => a - b);
const range = (first, last) => Array.from({ length: last - first + 1 }, (_, at) => first + at);

for (const [title, away, back] of [
  ['stopped in order', 'stop', 'start'],
  ['killed', 'kill', 'start'],
  ['held, with its connections open,', 'pause', 'resume'],
]) {
  test(`a broker that is ${title} and comes back: clients hold on, nothing is lost or doubled`, async (story) => {
    const name = fresh(away);
    const alice = client(story);
    const { inbox, subscription } = await subscribe(alice, `story:${name}`);
    const lost = [breaks(alice, 'connecting'), breaks(subscription, 'subscribing')];
    const produced = produce('stories', { key: name, count: 1000, rate: 200 });
    await inbox.number(200);
    await broker(away);
    // The producer goes on into its queue meanwhile.
    const ping = alice.rpc('nothing', {}).catch(({ code }) => code);
    assert.ok([104, 108].includes(await ping), 'the edge answers while the broker is away');
    await broker(back);
    assert.deepEqual((await produced).errors, []);
    await inbox.number(1000);
    assert.deepEqual(inbox.numbers, range(1, 1000));
    assert.deepEqual(lost, [[], []]);
  });
}

test('a client that comes back while the broker is away recovers what the replay has', async (story) => {
  const name = fresh('away');
  const { inbox, subscription } = await subscribe(client(story), `story:${name}`);
  const witness = await subscribe(client(story), `story:${name}`);
  await produce('stories', { key: name, count: 5 });
  await inbox.number(5);
  subscription.unsubscribe();
  await produce('stories', { key: name, first: 6, count: 5 });
  await witness.inbox.number(10);
  await broker('stop');
  const back = heard(subscription, 'subscribed');
  subscription.subscribe();
  assert.equal((await back).recovered, true);
  await inbox.number(10);
  await broker('start');
  await produce('stories', { key: name, first: 11 });
  await inbox.number(11);
  assert.deepEqual(inbox.numbers, range(1, 11));
});

test('partitions that are added are read, from their beginning', async (story) => {
  const batch = fresh('partitions');
  const producer = new Producer();
  story.after(() => producer.stop());
  const { inbox } = await subscribe(client(story), `batch:${batch}`);
  const send = (n, partition) => producer.send({ topic: 'batches', partition, value: { batch, owner: 'alice', n } });
  await send(1, 0);
  await inbox.number(1);
  await topic('alter', 'batches', '--partitions', '5');
  // Until the producer's own metadata know the partition, it refuses.
  await eventually(() => send(2, 4));
  await inbox.number(2);
  await send(3, 4);
  await inbox.number(3);
  assert.deepEqual(inbox.numbers, [1, 2, 3]);
});

test('a topic that is deleted and made again starts anew: clients are told', async (story) => {
  const name = fresh('renewed');
  const alice = client(story);
  const { inbox, subscription, first } = await subscribe(alice, `renewed:${name}`);
  await produce('renewed', { key: name, count: 20 });
  await inbox.number(20);
  subscription.unsubscribe();
  await topic('delete', 'renewed');
  await topic('create', 'renewed', '--partitions', '1');
  // A new topic's events reach those who subscribe newly.
  const witness = await subscribe(client(story), `renewed:${name}`);
  // A producer that meets the topic between its two lives is told that there is none.
  await eventually(() => produce('renewed', { key: name, first: 500 }));
  await witness.inbox.number(500);
  const back = heard(subscription, 'subscribed');
  subscription.subscribe();
  const { wasRecovering, recovered, streamPosition } = await back;
  assert.deepEqual([wasRecovering, recovered], [true, false]);
  assert.notEqual(streamPosition.epoch, first.streamPosition.epoch);
  await produce('renewed', { key: name, first: 1000 });
  await inbox.number(1000);
  // The first twenty, what came after the subscription, and nothing in between.
  assert.deepEqual(inbox.numbers, [...range(1, 20), 1000]);
});

test('a compacted topic: what the cleaner left is recovered, in order', async (story) => {
  const market = fresh('market');
  const producer = new Producer();
  story.after(() => producer.stop());
  const { inbox, first } = await subscribe(client(story), `price:${market}`);
  // Every key many times over, so that compaction has something to take away.
  for (let n = 1; n <= 60; n += 1) {
    await producer.send({ topic: 'prices', key: `${market}-${n % 5}`, value: { market, n } });
  }
  await inbox.number(60);
  assert.deepEqual(inbox.numbers, range(1, 60));
  // The cleaner leaves the newest segment alone; a new one begins with a record that comes a second later.
  await eventually(async () => {
    await producer.send({ topic: 'prices', key: 'nudge', value: { market: 'nudge', n: 0 } });
    const left = (await consume('prices')).filter(({ key }) => key.startsWith(market));
    assert.equal(left.length, 5, 'records are left');
  });
  const later = await subscribe(client(story), `price:${market}`, { since: first.streamPosition });
  assert.equal(later.first.recovered, true);
  await later.inbox.number(60);
  const { numbers } = later.inbox;
  assert.deepEqual(numbers, ascending(numbers));
  for (const n of range(56, 60)) assert.ok(numbers.includes(n), `${n} is missing`);
});
