// Chromium: the SDK's browser bundle, the demo's page, and that page in the whole demo. Screenshots go to target/realtime.
//
// A server of the story hands out the pages and passes WebSockets on to the edge, so that both have one origin, as in
// production. Between the two is a cable that can be cut.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { Cable } from './cable.mjs';
import { eventually, fresh, PATIENCE_MS, produce, Producer, token, url } from './platform.mjs';
import { passUpgrades } from './upgrades.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const screenshots = path.join(process.env.CARGO_TARGET_DIR ?? path.join(here, '../../target'), 'realtime');
const bundle = readFileSync(path.join(here, 'node_modules/centrifuge/dist/centrifuge.js'));
const demo = readFileSync(path.join(here, '../../proxy/src/demo/live.html'));
const range = (first, last) => Array.from({ length: last - first + 1 }, (_, at) => first + at);

let browser;

test.before(async () => {
  const known = ['/usr/bin/chromium', '/usr/bin/google-chrome', '/usr/bin/chromium-browser'];
  const executablePath = process.env.CHROMIUM ?? known.find(existsSync);
  assert.ok(executablePath, 'there is no Chromium; run scripts/setup.sh realtime, or name it in CHROMIUM');
  browser = await chromium.launch({ executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu'] });
  mkdirSync(screenshots, { recursive: true });
});

test.after(() => browser?.close());

/** A page; `files` says what is at which path: `{type, body}`, or a function of the request and its body that answers it. */
async function open(story, files, start) {
  const cable = await Cable.to(story, url);
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const file = files[new URL(request.url, 'http://page').pathname];
    const { status = 200, type = 'application/json', body } =
      typeof file === 'function' ? await file(request, Buffer.concat(chunks)) : (file ?? { status: 404, body: '' });
    response.writeHead(status, { 'content-type': type }).end(body);
  });
  passUpgrades(server, cable.url);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${server.address().port}`;

  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  // An error in a page is an error of the story. Connections that break, as they shall, are not exceptions.
  const errors = [];
  page.on('pageerror', (error) => errors.push(error));
  story.after(async () => {
    await context.close();
    server.close();
    server.closeAllConnections();
    assert.deepEqual(errors, []);
  });
  await page.goto(origin + start);
  const at = origin.replace(/^http/, 'ws') + new URL(url).pathname;
  return { page, context, cable, at };
}

/** A page with the SDK, a client that is connected and subscribed, and what it hears in `window.heard`. */
async function sdkPage(story, { channel, getToken = () => token() }) {
  const opened = await open(
    story,
    {
      '/story': { type: 'text/html', body: '<!doctype html><title>story</title><script src="/centrifuge.js"></script>' },
      '/centrifuge.js': { type: 'text/javascript', body: bundle },
      '/token': async () => {
        const made = getToken();
        return made ? { type: 'text/plain', body: made } : { status: 403, body: '' };
      },
    },
    '/story',
  );
  await opened.page.evaluate(
    ({ channel, at }) => {
      const heard = (window.heard = { numbers: [], subscribed: [], lost: [], disconnected: [] });
      const getToken = async () => {
        const answer = await fetch('/token');
        if (answer.status === 403) throw new Centrifuge.UnauthorizedError('no');
        return answer.text();
      };
      const client = (window.client = new Centrifuge(at, { getToken, minReconnectDelay: 20, maxReconnectDelay: 200 }));
      const subscription = client.newSubscription(channel);
      subscription.on('publication', ({ data }) => heard.numbers.push(data.n));
      subscription.on('subscribed', ({ wasRecovering, recovered }) => heard.subscribed.push({ wasRecovering, recovered }));
      client.on('connecting', ({ code }) => heard.lost.push(code));
      client.on('disconnected', ({ code }) => heard.disconnected.push(code));
      subscription.subscribe();
      client.connect();
    },
    { channel, at: opened.at },
  );
  const { page } = opened;
  opened.until = (what) => page.waitForFunction(what);
  opened.subscribed = (count) => page.waitForFunction((count) => window.heard.subscribed.length >= count, count);
  opened.number = (n) => page.waitForFunction((n) => window.heard.numbers.includes(n), n);
  opened.heard = () => page.evaluate(() => window.heard);
  await opened.subscribed(1);
  return opened;
}

test('events reach a page, and a token is refreshed under it', async (story) => {
  const name = fresh('page');
  let asked = 0;
  const getToken = () => (asked++, token({ seconds: 2 }));
  const { number, heard } = await sdkPage(story, { channel: `story:${name}`, getToken });
  await produce('stories', { key: name, count: 250, rate: 50 });
  await number(250);
  const { numbers, lost } = await heard();
  assert.deepEqual(numbers, range(1, 250));
  // The first `connecting` is that of connect().
  assert.deepEqual(lost, [0]);
  assert.ok(asked >= 3, `getToken was called ${asked} times`);
});

test('offline and online again, a cut cable: nothing is lost or doubled', async (story) => {
  const name = fresh('offline');
  const { context, cable, until, subscribed, number, heard } = await sdkPage(story, { channel: `story:${name}` });
  await produce('stories', { key: name, count: 10 });
  await number(10);
  await context.setOffline(true);
  await until(() => window.client.state === 'connecting');
  await produce('stories', { key: name, first: 11, count: 40, transaction: 'mixed', every: 5 });
  await context.setOffline(false);
  await subscribed(2);
  await produce('stories', { key: name, first: 51 });
  await number(51);
  cable.cut();
  await until(() => window.client.state === 'connecting');
  await produce('stories', { key: name, first: 52, count: 100 });
  cable.mend();
  await subscribed(3);
  await number(151);
  const { numbers, subscribed: seen } = await heard();
  const committed = range(11, 50).filter((n) => Math.floor((n - 11) / 5) % 2 === 0);
  assert.deepEqual(numbers, [...range(1, 10), ...committed, ...range(51, 151)]);
  assert.deepEqual(seen.slice(1), [
    { wasRecovering: true, recovered: true },
    { wasRecovering: true, recovered: true },
  ]);
});

test('who gets no new token is disconnected when the old one expires', async (story) => {
  const tokens = [token({ seconds: 2 })];
  const { until, heard } = await sdkPage(story, { channel: 'story:expiry', getToken: () => tokens.shift() });
  await until(() => window.client.state === 'disconnected');
  assert.deepEqual((await heard()).disconnected, [1]);
});

test("the demo's page: registers, shows, cuts, recovers, and shows each user their own", async (story) => {
  const producer = new Producer();
  story.after(() => producer.stop());
  // Users of this story alone.
  const names = { alice: fresh('alice'), bob: fresh('bob') };
  const register = (user, title, n) => {
    const value = { batch: fresh('demo'), owner: names[user], title, n };
    return producer.send({ topic: 'batches', key: value.batch, headers: { ce_type: 'batch.registered' }, value });
  };
  let registered = 0;
  const { page } = await open(
    story,
    {
      '/live': { type: 'text/html', body: demo },
      '/live/session': (request) => {
        const user = new URL(request.url, 'http://page').searchParams.get('user');
        return { body: JSON.stringify({ token: token({ sub: names[user], seconds: 60 }), channel: 'batch:*' }) };
      },
      '/v1/batches': async ({ headers }, body) => {
        if (!/^Bearer ./.test(headers.authorization)) return { status: 401, body: '' };
        await register('alice', JSON.parse(body).title, (registered += 1));
        return { status: 201, body: JSON.stringify({ id: registered }) };
      },
    },
    '/live',
  );
  const text = (id) => page.locator(`#${id}`);
  // The server of this story has neither a view nor an overview; the page goes on without.
  await page.waitForFunction(() => document.getElementById('rows-hint').textContent === 'The edge answered 404.');
  const shows = (id, wanted) => page.waitForFunction(([id, wanted]) => document.getElementById(id).textContent === wanted, [id, wanted]);
  const titles = async () => (await page.locator('#list li b').allTextContents()).map((title) => title.split(' · ')[0]);

  await shows('state', 'connected');
  await page.fill('#title', 'Letters, class 7a');
  await page.click('#form button');
  await shows('answer', 'Batch 1 is registered.');
  await register('bob', 'not hers', 1);
  await register('alice', 'Reports, class 8c', 2);
  await shows('received', '2');
  assert.deepEqual((await titles()).sort(), ['Letters, class 7a', 'Reports, class 8c']);

  await page.click('#cut');
  await shows('state', 'disconnected');
  for (const n of range(3, 5)) await register('alice', `while away ${n}`, n);
  await page.waitForFunction(() => document.getElementById('recovered').textContent.startsWith('recovered'));
  assert.equal(await text('recovered').textContent(), 'recovered: true, 3 events');
  await shows('received', '5');
  assert.equal(await page.locator('.badge').count(), 3);

  for (const width of [400, 1400]) {
    await page.setViewportSize({ width, height: 900 });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(overflow <= 0, `at ${width} px the page is ${overflow} px too wide`);
    await page.screenshot({ path: path.join(screenshots, `live-${width}.png`), fullPage: true });
  }

  await page.locator('#users button', { hasText: 'bob' }).click();
  await shows('state', 'connected');
  assert.equal(await text('list').locator('li').count(), 0);
  await register('alice', 'not his', 6);
  await register('bob', 'his', 2);
  await shows('received', '1');
  assert.deepEqual(await titles(), ['his']);
});

/** The demo, with ports of its own. Gives the URL of its edge. */
async function startDemo(story) {
  const folder = mkdtempSync(path.join(tmpdir(), 'sallyport-demo-story-'));
  const ready = path.join(folder, 'ready.json');
  const given = ['demo', '--free-ports', '--folder', path.join(folder, 'demo'), '--ready-file', ready];
  const program = spawn(process.env.SALLYPORT, given, { stdio: 'ignore' });
  const ended = once(program, 'exit');
  story.after(async () => {
    program.kill('SIGTERM');
    const [code] = await ended;
    rmSync(folder, { recursive: true });
    assert.equal(code, 0);
  });
  const { listeners } = await eventually(async () => JSON.parse(readFileSync(ready, 'utf8')));
  return `https://localhost:${listeners.public.split(':').at(-1)}`;
}

test("the whole demo: rows follow the events, and the overview is composed, each user's own", async (story) => {
  const edge = await startDemo(story);
  // Chromium does not know who signed the demo's certificate.
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  story.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const statuses = [];
  page.on('response', (response) => {
    if (new URL(response.url()).pathname === '/v1/dashboard/batches') statuses.push(response.status());
  });
  const errors = [];
  page.on('pageerror', (error) => errors.push(error));
  await page.goto(`${edge}/live?user=alice`);
  const cells = (at) => page.locator(`#rows tr td:nth-child(${at})`).allTextContents();
  const shows = (id, wanted) =>
    page.waitForFunction(([id, wanted]) => document.getElementById(id).textContent.includes(wanted), [id, wanted]);
  await shows('state', 'connected');
  await shows('counts', 'all: 0');

  await page.fill('#title', 'Essays on rivers');
  await page.click('#form button');
  // Spell checking takes some seconds: the row is seen on its way.
  await shows('counts', 'registered: 1');
  await shows('counts', 'checking: 1');
  await shows('counts', 'checked: 1');
  assert.deepEqual([await cells(1), await cells(2), await cells(3), await cells(4)], [['1'], ['Essays on rivers'], ['checked'], ['5 of 5']]);
  await page.waitForFunction(() => /^progress: .*"checked"/m.test(document.getElementById('composed').textContent));
  const composed = await page.locator('#composed').textContent();
  const lines = Object.fromEntries(composed.split('\n').map((line) => [line.split(': ')[0], JSON.parse(line.slice(line.indexOf(': ') + 2))]));
  assert.deepEqual(lines.profile, { id: 'alice', name: 'Alice' });
  assert.deepEqual(lines.batches, [{ id: 1, owner: 'alice', title: 'Essays on rivers' }]);
  assert.deepEqual(lines.progress, [{ value: 'checked', n: 1 }]);
  assert.equal(lines.results[0].batch, '1');
  await shows('composed-hint', 'complete. profile;dur=');
  for (const width of [400, 1400]) {
    await page.setViewportSize({ width, height: 900 });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(overflow <= 0, `at ${width} px the page is ${overflow} px too wide`);
    await page.screenshot({ path: path.join(screenshots, `dashboard-${width}.png`), fullPage: true });
  }

  // Somebody else has other rows; who comes back, and finds nothing new, gets 304.
  await page.locator('#users button', { hasText: 'bob' }).click();
  await shows('counts', 'all: 0');
  assert.deepEqual(await cells(2), []);
  const again = await page.evaluate(async () => {
    const { token } = await (await fetch('/live/session?user=alice')).json();
    const ask = (more) => fetch('/v1/dashboard/batches', { headers: { authorization: `Bearer ${token}`, ...more }, cache: 'no-store' });
    const first = await ask({});
    return [first.status, (await ask({ 'if-none-match': first.headers.get('etag') })).status];
  });
  assert.deepEqual(again, [200, 304]);
  assert.ok(statuses.every((status) => status === 200 || status === 304), statuses.join());
  assert.deepEqual(errors, []);
});
