// The network breaks; what was missed is made up for, once and in order.

import assert from 'node:assert/strict';
import test from 'node:test';

import { Cable } from './cable.mjs';
import { client, heard, Inbox, subscribe } from './client.mjs';
import { fresh, produce, Producer, url } from './platform.mjs';

const ascending = (numbers) => [...numbers].sort((a, b) => a - b);
const range = (first, last) => Array.from({ length: last - first + 1 }, (_, at) => first + at);

/** The committed numbers of `produce --transaction mixed --every N`. */
const committed = (count, every) => range(1, count).filter((n) => Math.floor((n - 1) / every) % 2 === 0);

/** Records every `subscribed` that followed a break. */
function recoveries(subscription) {
  const seen = [];
  subscription.on('subscribed', ({ wasRecovering, recovered }) => seen.push({ wasRecovering, recovered }));
  return seen;
}

test('a thousand events with gaps between their offsets, over a cable that is cut again and again', async (story) => {
  const name = fresh('cut');
  const cable = await Cable.to(story, url);
  const alice = client(story, { at: cable.url });
  const { inbox, subscription } = await subscribe(alice, `story:${name}`);
  const seen = recoveries(subscription);
  // 2,000 records in transactions of 20, every second one aborted: markers and aborted records leave gaps.
  const data = { count: 2000, transaction: 'mixed', every: 20, rate: 500 };
  const produced = produce('stories', { key: name, ...data });
  for (const after of [100, 300, 500, 700]) {
    await inbox.first(({ data }) => data.n >= after * 2, `an event from ${after * 2} on`);
    const lost = heard(subscription, 'subscribing');
    cable.cut();
    await lost;
    // Some events pass while the client is away.
    await produce('stories', { key: fresh('meanwhile'), count: 50, rate: 250 });
    const back = heard(subscription, 'subscribed');
    cable.mend();
    await back;
  }
  assert.equal((await produced).aborted, 1000);
  await inbox.number(1980);
  assert.deepEqual(inbox.numbers, committed(2000, 20));
  assert.equal(seen.length, 4);
  for (const one of seen) assert.deepEqual(one, { wasRecovering: true, recovered: true });
});

test('a network that swallows everything is noticed by the missing ping', async (story) => {
  const name = fresh('torn');
  const cable = await Cable.to(story, url);
  const alice = client(story, { at: cable.url, maxServerPingDelay: 500, timeout: 1000 });
  const { inbox, subscription } = await subscribe(alice, `story:${name}`);
  await produce('stories', { key: name, count: 10 });
  await inbox.number(10);
  const lost = heard(alice, 'connecting');
  cable.tear();
  await produce('stories', { key: name, first: 11, count: 100 });
  assert.equal((await lost).code, 2, 'no ping');
  const back = heard(subscription, 'subscribed');
  cable.mend();
  assert.equal((await back).recovered, true);
  await produce('stories', { key: name, first: 111 });
  await inbox.number(111);
  assert.deepEqual(inbox.numbers, range(1, 111));
});

test('what the replay has no more is read from Kafka', async (story) => {
  const name = fresh('brief');
  const { inbox, subscription } = await subscribe(client(story), `brief:${name}`);
  const witness = await subscribe(client(story), `brief:${name}`);
  await produce('briefs', { key: name, count: 5 });
  await inbox.number(5);
  subscription.unsubscribe();
  await produce('briefs', { key: name, first: 6, count: 500 });
  await produce('briefs', { key: fresh('others'), count: 500 });
  await witness.inbox.number(505);
  const back = heard(subscription, 'subscribed');
  subscription.subscribe();
  assert.equal((await back).recovered, true);
  await inbox.number(505);
  assert.deepEqual(inbox.numbers, range(1, 505));
});

test('recovery gives each user only what is theirs', async (story) => {
  const batch = fresh('owners');
  const producer = new Producer();
  story.after(() => producer.stop());
  const cable = await Cable.to(story, url);
  const clients = ['alice', 'bob'].map((user) => client(story, { user, at: cable.url }));
  const [hers, his] = await Promise.all(clients.map((one) => subscribe(one, `batch:${batch}`)));
  const send = (n) => {
    const owner = n % 2 ? 'alice' : 'bob';
    return producer.send({ topic: 'batches', key: batch, value: { batch, owner, n } });
  };
  for (const n of range(1, 10)) await send(n);
  await Promise.all([hers.inbox.number(9), his.inbox.number(10)]);
  const lost = [hers, his].map(({ subscription }) => heard(subscription, 'subscribing'));
  cable.cut();
  await Promise.all(lost);
  for (const n of range(11, 30)) await send(n);
  const back = [hers, his].map(({ subscription }) => heard(subscription, 'subscribed'));
  cable.mend();
  for (const { recovered } of await Promise.all(back)) assert.equal(recovered, true);
  await Promise.all([send(31), send(32)]);
  await Promise.all([hers.inbox.number(31), his.inbox.number(32)]);
  assert.deepEqual(hers.inbox.numbers, range(1, 31).filter((n) => n % 2));
  assert.deepEqual(his.inbox.numbers, range(1, 32).filter((n) => n % 2 === 0));
});

test('a wildcard over several partitions recovers', async (story) => {
  const prefix = fresh('wild');
  const producer = new Producer();
  story.after(() => producer.stop());
  const cable = await Cable.to(story, url);
  const { inbox, subscription } = await subscribe(client(story, { at: cable.url }), `batch:${prefix}*`);
  // Partition by turns.
  const send = (n) => {
    const batch = `${prefix}-${n % 7}`;
    return producer.send({ topic: 'batches', partition: n % 3, value: { batch, owner: 'alice', n } });
  };
  const has = (numbers) => Promise.all(numbers.map((n) => inbox.number(n)));
  let n = 0;
  for (const round of range(1, 4)) {
    for (const _ of range(1, 20)) await send((n += 1));
    await has(range(1, n));
    const lost = heard(subscription, 'subscribing');
    cable.cut();
    await lost;
    for (const _ of range(1, 10 * round)) await send((n += 1));
    const back = heard(subscription, 'subscribed');
    cable.mend();
    assert.equal((await back).recovered, true);
  }
  for (const _ of range(1, 3)) await send((n += 1));
  await has(range(1, n));
  assert.deepEqual(ascending(inbox.numbers), range(1, n));
  // Of one partition in order.
  for (const partition of [0, 1, 2]) {
    const numbers = inbox.numbers.filter((one) => one % 3 === partition);
    assert.deepEqual(numbers, ascending(numbers));
  }
});

// The SDK does not take the epoch of such publications, only their offset: the server has to do with that.
test('a server-side subscription recovers, over more than one break', async (story) => {
  const user = fresh('joined');
  const producer = new Producer();
  story.after(() => producer.stop());
  const cable = await Cable.to(story, url);
  const one = client(story, { user, at: cable.url });
  const inbox = new Inbox(one);
  const own = ({ channel }) => channel === `user:${user}`;
  await heard(one, 'subscribed', own);
  let n = 0;
  // Both partitions of the topic.
  const send = () => producer.send({ topic: 'notes', partition: (n += 1) % 2, value: { to: user, n } });
  for (const _ of range(1, 4)) {
    for (const _ of range(1, 10)) await send();
    await Promise.all([inbox.number(n - 1), inbox.number(n)]);
    const lost = heard(one, 'connecting');
    cable.cut();
    await lost;
    for (const _ of range(1, 10)) await send();
    const back = heard(one, 'subscribed', own);
    cable.mend();
    assert.equal((await back).recovered, true);
  }
  await Promise.all([inbox.number(n - 1), inbox.number(n)]);
  assert.deepEqual(ascending(inbox.numbers), range(1, n));
});

test('a position that came from history can be gone on from', async (story) => {
  const name = fresh('since');
  const alice = client(story);
  const { subscription, inbox } = await subscribe(alice, `story:${name}`);
  await produce('stories', { key: name, count: 3 });
  await inbox.number(3);
  const { offset, epoch } = await subscription.history();
  await produce('stories', { key: name, first: 4, count: 3 });
  await inbox.number(6);
  const later = await subscribe(client(story), `story:${name}`, { since: { offset, epoch } });
  assert.equal(later.first.recovered, true);
  await later.inbox.number(6);
  assert.deepEqual(later.inbox.numbers, [4, 5, 6]);
});

test('a position that means nothing here is told, and live events go on', async (story) => {
  const name = fresh('nonsense');
  const since = { offset: 7, epoch: 'nonsense' };
  const { first, inbox } = await subscribe(client(story), `story:${name}`, { since });
  assert.deepEqual([first.wasRecovering, first.recovered], [true, false]);
  await produce('stories', { key: name });
  await inbox.number(1);
  assert.deepEqual(inbox.numbers, [1]);
});

test('a client that would rather know than start anew is refused with 112', async (story) => {
  const name = fresh('state');
  let asked = 0;
  const getState = async () => {
    asked += 1;
    // The second time the application has loaded everything, and begins where the channel is.
    return asked === 1 ? { offset: 7, epoch: 'nonsense' } : position;
  };
  const other = await subscribe(client(story), `story:${name}`);
  const position = await other.subscription.history();
  const { first } = await subscribe(client(story), `story:${name}`, { getState });
  assert.equal(asked, 2);
  assert.equal(first.recovered, true);
});
