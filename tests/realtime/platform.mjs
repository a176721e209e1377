// What the stories stand on, from the environment that run.sh makes: where the edge is, tokens, an independent producer and
// consumer, the broker itself. No story starts an edge.

import { execFile, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const here = path.dirname(fileURLToPath(import.meta.url));
const kafkaScript = path.join(here, '../../deploy/kafka/kafka.sh');
const python = process.env.PYTHON ?? 'python3';

/** The edge's WebSocket URL. */
export const url = needed('SALLYPORT_URL');
/** The edge's URL for server-sent events. */
export const sseUrl = needed('SALLYPORT_SSE_URL');
/** The broker, `host:port`. */
export const kafka = needed('SALLYPORT_KAFKA');
const secret = needed('SALLYPORT_SECRET');

/** How long anything may take. Only turns a hang into a failure. */
export const PATIENCE_MS = 30_000;

function needed(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; start the stories with tests/realtime/run.sh`);
  return value;
}

/** A name that no other story has used. */
export function fresh(prefix) {
  fresh.count = (fresh.count ?? 0) + 1;
  return `${prefix}-${Date.now().toString(36)}${process.pid.toString(36)}${fresh.count}`;
}

/**
 * A token of the issuer `main`. `seconds` until it expires, with fractions: `exp` may have them (RFC 7519, section 2,
 * NumericDate).
 */
export function token({ sub = 'alice', seconds = 300, signedWith = secret, ...claims } = {}) {
  const now = Date.now() / 1000;
  const body = { iss: 'https://id.test/', aud: 'platform', sub, iat: Math.floor(now), exp: now + seconds, ...claims };
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const message = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(body)}`;
  return `${message}.${createHmac('sha256', signedWith).update(message).digest('base64url')}`;
}

/** Runs produce.py to its end; the answer is its summary. Names of options are those of the program. */
export async function produce(topic, options = {}) {
  const given = Object.entries(options).flatMap(([name, value]) =>
    value === true ? [`--${name}`] : [].concat(value).flatMap((one) => [`--${name}`, String(one)]),
  );
  const { stdout } = await run(python, [path.join(here, 'produce.py'), '--broker', kafka, topic, ...given]);
  return JSON.parse(stdout);
}

/** A producer that stays, for records one at a time. */
export class Producer {
  #process;
  #waiting = [];

  constructor(broker = kafka) {
    this.#process = spawn(python, [path.join(here, 'produce.py'), '--broker', broker, '--lines'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    readline.createInterface({ input: this.#process.stdout }).on('line', (line) => {
      const { resolve, reject } = this.#waiting.shift();
      const told = JSON.parse(line);
      if (told.error) reject(new Error(told.error));
      else resolve(told);
    });
    this.#process.on('exit', (code) => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(`produce.py ended with ${code}`));
    });
  }

  /** Sends `{topic, key, headers, value}`; resolves to `{partition, offset}` when the broker has it. */
  send(record) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#process.stdin.write(JSON.stringify(record) + '\n');
    });
  }

  async stop() {
    this.#process.stdin.end();
    if (this.#process.exitCode === null) await once(this.#process, 'exit');
  }
}

/** All committed records of a topic so far, read by kcat: `{key, payload, headers, partition, offset}`. */
export async function consume(topic) {
  const given = ['-b', kafka, '-C', '-t', topic, '-o', 'beginning', '-e', '-q', '-J'];
  const { stdout } = await run('kcat', given, { maxBuffer: 64 * 1024 * 1024 });
  return stdout.split('\n').filter(Boolean).map(readKcat);
}

function readKcat(line) {
  const { key, payload, headers = [], partition, offset } = JSON.parse(line);
  const named = {};
  for (let at = 0; at < headers.length; at += 2) named[headers[at]] = headers[at + 1];
  return { key, payload, headers: named, partition, offset };
}

/** `broker('stop')`, `broker('start')`: the broker that run.sh started. */
export async function broker(command) {
  await runKafka(command, needed('SALLYPORT_KAFKA_FOLDER'));
}

/** `topic('create', 'name', '--partitions', '3')`. */
export async function topic(command, ...rest) {
  await runKafka('topic', kafka, command, ...rest);
}

// A broker that was started holds the pipes of a child that is waited for; so it gets none.
async function runKafka(...given) {
  const child = spawn(kafkaScript, given, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`kafka.sh ${given.join(' ')} ended with ${code}`);
}

/** Fails after PATIENCE_MS, naming what was waited for. */
export function patiently(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    const tell = () => new Error(`waited ${PATIENCE_MS / 1000} s for ${typeof what === 'function' ? what() : what}`);
    timer = setTimeout(() => reject(tell()), PATIENCE_MS);
    // What nobody waits for any more does not hold the process.
    timer.unref();
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Tries again until it works, or until PATIENCE_MS have passed; then the last error stands. */
export async function eventually(attempt) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}
