// The same events for curl and EventSource: a stream over plain HTTP that can be taken up again.

import assert from 'node:assert/strict';
import test from 'node:test';

import { fresh, patiently, produce, Producer, sseUrl, token } from './platform.mjs';

const range = (first, last) => Array.from({ length: last - first + 1 }, (_, at) => first + at);

/** An open stream: `until(n)` reads up to the event with this `n`; `lastId` is what EventSource would send. */
class Stream {
  events = [];
  lastId = '';
  #text = '';

  static async open(story, channel, { user = 'alice', lastId } = {}) {
    const stream = new Stream();
    const target = new URL(sseUrl);
    target.searchParams.set('channel', channel);
    const headers = { accept: 'text/event-stream', authorization: `Bearer ${token({ sub: user })}` };
    if (lastId) headers['last-event-id'] = lastId;
    const controller = new AbortController();
    stream.close = () => controller.abort();
    story.after(stream.close);
    stream.answer = await patiently(fetch(target, { headers, signal: controller.signal }), 'the answer');
    stream.reader = stream.answer.body.pipeThrough(new TextDecoderStream()).getReader();
    return stream;
  }

  async until(n) {
    while (!this.numbers.includes(n)) {
      const { value, done } = await patiently(this.reader.read(), () => `the event ${n}, after ${this.numbers.at(-1)}`);
      assert.ok(!done, `the stream ended before the event ${n}`);
      this.#text += value;
      const blocks = this.#text.split('\n\n');
      this.#text = blocks.pop();
      for (const block of blocks) this.#take(block);
    }
  }

  // HTML, section 9.2.6: fields are lines, a colon and an optional space; comments begin with a colon.
  #take(block) {
    const fields = { data: [] };
    for (const line of block.split('\n')) {
      const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (name === 'data') fields.data.push(value);
      else if (name === 'id') this.lastId = value;
      else if (name) fields[name] = value;
    }
    if (fields.data.length > 0) this.events.push({ ...fields, data: JSON.parse(fields.data.join('\n')), id: this.lastId });
  }

  /** The `n` of the events' data, whether an event is a publication or its data alone. */
  get numbers() {
    return this.events.map(({ data }) => data.n ?? data.data?.n ?? data.pub?.data?.n).filter((n) => n !== undefined);
  }
}

test('events arrive as server-sent events', async (story) => {
  const name = fresh('sse');
  const stream = await Stream.open(story, `story:${name}`);
  assert.equal(stream.answer.status, 200);
  assert.match(stream.answer.headers.get('content-type'), /^text\/event-stream/);
  assert.match(stream.answer.headers.get('cache-control') ?? '', /no-(cache|store)/);
  await produce('stories', { key: name, count: 50 });
  await stream.until(50);
  assert.deepEqual(stream.numbers, range(1, 50));
});

test('Last-Event-ID takes a stream up where it broke', async (story) => {
  const name = fresh('sse-resume');
  const first = await Stream.open(story, `story:${name}`);
  const produced = produce('stories', { key: name, count: 600, rate: 300 });
  await first.until(100);
  first.close();
  const second = await Stream.open(story, `story:${name}`, { lastId: first.lastId });
  await second.until(300);
  second.close();
  await produced;
  const third = await Stream.open(story, `story:${name}`, { lastId: second.lastId });
  await third.until(600);
  assert.deepEqual([...first.numbers, ...second.numbers, ...third.numbers], range(1, 600));
});

test('a stream shows only what is its user\'s', async (story) => {
  const batch = fresh('sse-owner');
  const producer = new Producer();
  story.after(() => producer.stop());
  const streams = await Promise.all(['alice', 'bob'].map((user) => Stream.open(story, `batch:${batch}`, { user })));
  for (const [n, owner] of [[1, 'alice'], [2, 'bob'], [3, 'carol'], [4, 'alice'], [5, 'bob']]) {
    await producer.send({ topic: 'batches', key: batch, value: { batch, owner, n } });
  }
  await Promise.all([streams[0].until(4), streams[1].until(5)]);
  assert.deepEqual(streams[0].numbers, [1, 4]);
  assert.deepEqual(streams[1].numbers, [2, 5]);
});

test('without a token, or for a channel that is not theirs, nobody gets a stream', async (story) => {
  const target = new URL(sseUrl);
  target.searchParams.set('channel', 'story:1');
  assert.equal((await patiently(fetch(target), 'the answer')).status, 401);
  const bobs = await Stream.open(story, 'user:alice', { user: 'bob' });
  assert.equal(bobs.answer.status, 403);
});
