// Clients of the stories: the official SDK, and a bare WebSocket for what the SDK would never do.

import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

import { patiently, token, url } from './platform.mjs';

/**
 * An SDK client that connects at once and is closed when the story ends. `user` makes its tokens, `seconds` is how long each
 * is valid; `at` is another URL; everything else is the SDK's.
 */
export function client(story, { user = 'alice', seconds, claims, at = url, ...options } = {}) {
  const made = new Centrifuge(at, {
    websocket: WebSocket,
    getToken: async () => token({ sub: user, seconds, ...claims }),
    minReconnectDelay: 20,
    maxReconnectDelay: 200,
    ...options,
  });
  story.after(() => close(made));
  made.connect();
  return made;
}

async function close(client) {
  if (client.state === 'disconnected') return;
  const closed = heard(client, 'disconnected');
  client.disconnect();
  await closed;
}

/** The next event of this name, or the next for which `fits`. */
export function heard(emitter, name, fits = () => true) {
  return patiently(
    new Promise((resolve) => {
      const listener = (context) => {
        if (!fits(context)) return;
        emitter.removeListener(name, listener);
        resolve(context);
      };
      emitter.on(name, listener);
    }),
    `the event \`${name}\``,
  );
}

/** The losses from now on, `connecting` of a client or `subscribing` of a subscription; to be read before the story ends. */
export function breaks(emitter, name) {
  const seen = [];
  emitter.on(name, ({ code, reason }) => seen.push({ code, reason }));
  return seen;
}

/** Subscribes; resolves when subscribed, to `{subscription, inbox, first}`: `first` is the context of `subscribed`. */
export async function subscribe(client, channel, options = {}) {
  const subscription = client.newSubscription(channel, { minResubscribeDelay: 20, maxResubscribeDelay: 200, ...options });
  const inbox = new Inbox(subscription);
  const subscribed = heard(subscription, 'subscribed');
  const refused = heard(subscription, 'unsubscribed').then(({ code, reason }) => {
    throw new Error(`the subscription to ${channel} was refused: ${code} ${reason}`);
  });
  subscription.subscribe();
  const first = await Promise.race([subscribed, refused]);
  // From here on an end of the subscription is for the story to judge.
  refused.catch(() => {});
  return { subscription, inbox, first };
}

/** Subscribes where that is to be refused; resolves to the refusal. */
export function refusal(client, channel, options = {}) {
  const subscription = client.newSubscription(channel, options);
  const unsubscribed = heard(subscription, 'unsubscribed');
  subscription.subscribe();
  return unsubscribed;
}

/** The publications of a subscription, or of a client's server-side subscriptions, in the order of their arrival. */
export class Inbox {
  publications = [];
  #watch = [];

  constructor(emitter, fits = () => true) {
    emitter.on('publication', (publication) => {
      if (!fits(publication)) return;
      this.publications.push(publication);
      this.#watch = this.#watch.filter((check) => !check());
    });
  }

  get data() {
    return this.publications.map(({ data }) => data);
  }

  /** The member `n` of all data. */
  get numbers() {
    return this.data.map(({ n }) => n);
  }

  /** Resolves to the first publication that fits, whether it came already or not. */
  first(fits, what = 'a publication') {
    const found = new Promise((resolve) => {
      const check = () => {
        const publication = this.publications.find(fits);
        if (publication) resolve(publication);
        return publication !== undefined;
      };
      if (!check()) this.#watch.push(check);
    });
    return patiently(found, () => `${what}; ${this.publications.length} had come, the last ${JSON.stringify(this.data.at(-1))}`);
  }

  /** Resolves when the event with this `n` is there. */
  number(n) {
    return this.first(({ data }) => data.n === n, `the event ${n}`);
  }
}

/** A WebSocket that speaks the protocol by hand. */
export class Bare {
  replies = [];
  #waiting = [];
  #id = 0;

  /** Opens it; `closed` resolves to `{code, reason}`. */
  static async open(story, at = url) {
    const bare = new Bare();
    bare.socket = new WebSocket(at);
    story.after(() => bare.socket.terminate());
    bare.closed = new Promise((resolve) => {
      bare.socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    bare.socket.on('message', (text) => text.toString().split('\n').filter(Boolean).forEach((line) => bare.#take(JSON.parse(line))));
    await patiently(
      new Promise((resolve, reject) => {
        bare.socket.on('open', resolve);
        bare.socket.on('error', reject);
      }),
      'the WebSocket to open',
    );
    return bare;
  }

  #take(reply) {
    // A ping; the answer is the same.
    if (Object.keys(reply).length === 0) return this.socket.send('{}');
    this.replies.push(reply);
    this.#waiting = this.#waiting.filter((check) => !check(reply));
  }

  /** The next reply or push that fits. */
  next(fits, what) {
    const found = new Promise((resolve, reject) => {
      this.#waiting.push((reply) => {
        if (fits(reply)) resolve(reply);
        return fits(reply);
      });
      this.closed.then(({ code, reason }) => reject(new Error(`closed with ${code} ${reason}`)));
    });
    return patiently(found, what);
  }

  /** Sends a command, `{subscribe: {…}}`; resolves to its reply. */
  call(command) {
    const id = ++this.#id;
    const reply = this.next((reply) => reply.id === id, `the reply to ${Object.keys(command)[0]}`);
    this.socket.send(JSON.stringify({ id, ...command }));
    return reply;
  }

  /** Resolves to `{code, reason}` when the other side closes. */
  end() {
    return patiently(this.closed, 'the close');
  }
}
