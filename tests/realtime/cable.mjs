// A network cable: a TCP proxy on loopback that can be cut, torn out without a word, and mended.

import { once } from 'node:events';
import net from 'node:net';

export class Cable {
  #pairs = new Set();
  #server;
  #state = 'whole';
  /** How many connections were made through it. */
  connections = 0;

  /** A cable to the host of this URL. `cable.url` is the same URL through it. */
  static async to(story, target) {
    const cable = new Cable();
    const { hostname, port } = new URL(target);
    cable.#server = net.createServer((near) => cable.#plug(near, hostname, Number(port)));
    cable.#server.listen(0, '127.0.0.1');
    await once(cable.#server, 'listening');
    const through = new URL(target);
    through.hostname = '127.0.0.1';
    through.port = cable.#server.address().port;
    cable.url = through.href;
    story.after(() => cable.#close());
    return cable;
  }

  #plug(near, host, port) {
    if (this.#state === 'cut') return near.destroy();
    this.connections += 1;
    const far = net.connect(port, host);
    const pair = { near, far };
    this.#pairs.add(pair);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on('data', (bytes) => {
        // A torn cable swallows what is sent; the sender cannot know.
        if (!pair.torn) to.write(bytes);
      });
      from.on('error', () => {});
      from.on('close', () => {
        this.#pairs.delete(pair);
        if (!pair.torn) to.destroy();
      });
    }
    pair.torn = this.#state === 'torn';
  }

  /** Resets all connections and refuses new ones. */
  cut() {
    this.#state = 'cut';
    for (const { near, far } of this.#pairs) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
  }

  /** Nothing passes any more, on old connections and new ones, and neither side is told. */
  tear() {
    this.#state = 'torn';
    for (const pair of this.#pairs) pair.torn = true;
  }

  /** New connections pass again. Old ones stay as they are. */
  mend() {
    this.#state = 'whole';
  }

  #close() {
    this.cut();
    this.#server.close();
  }
}
